//! Two processes on two hosts, as far as one machine can play two: network namespaces, joined by a virtual cable.

use crate::restart::{LOG, digest};
use crate::support::{Place, Running};
use std::process::Command;
use std::time::{Duration, Instant};

/// Two namespaces and the cable between them, gone with the test.
struct Hosts(String);

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split_whitespace()).output().is_ok_and(|output| output.status.success())
}

impl Hosts {
    /// `None`, said aloud, where namespaces cannot be made.
    fn make() -> Option<Self> {
        let name = format!("tw{}", std::process::id() % 100_000);
        let hosts = Self(name.clone());
        let made = [
            format!("netns add {name}a"),
            format!("netns add {name}b"),
            format!("link add {name}a type veth peer name {name}b"),
            format!("link set {name}a netns {name}a"),
            format!("link set {name}b netns {name}b"),
            format!("-n {name}a addr add 10.77.0.1/24 dev {name}a"),
            format!("-n {name}b addr add 10.77.0.2/24 dev {name}b"),
            format!("-n {name}a link set {name}a up"),
            format!("-n {name}b link set {name}b up"),
        ];
        if let Some(refused) = made.iter().find(|arguments| !ip(arguments)) {
            eprintln!("skipped: 'ip {refused}' is refused; network namespaces need root and iproute2");
            return None;
        }
        Some(hosts)
    }

    /// Starts a process of the run on one of the two.
    fn start(&self, place: &Place, line: &str, process: u8) -> Running {
        let host = ["a", "b"][usize::from(process)];
        place.call(&format!("{line} -n 2 -p {process} --hostfile hosts")).within(&format!("ip netns exec {}{host}", self.0)).start()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in ["a", "b"] {
            ip(&format!("netns del {}{host}", self.0));
        }
    }
}

#[test]
#[ignore = "makes network namespaces, as root: cargo test --test system namespaces -- --ignored"]
fn two_processes_in_two_network_namespaces_come_to_what_one_comes_to() {
    let Some(hosts) = Hosts::make() else { return };
    let place = Place::new();
    place.write("hosts", "10.77.0.1:2301\n10.77.0.2:2301\n");
    let line = format!("-w 2 {LOG} --speed max");
    let (second, first) = (hosts.start(&place, &line, 1), hosts.start(&place, &line, 0));
    assert_eq!(first.finish().well().digest(), digest());
    second.finish().well();
}

/// A host that is gone sends no word that it is: the other one must not wait for the quarter of an hour that the system does.
#[test]
#[ignore = "makes network namespaces, as root: cargo test --test system namespaces -- --ignored"]
fn a_host_that_is_cut_off_ends_the_run_on_the_other() {
    let Some(hosts) = Hosts::make() else { return };
    let place = Place::new();
    place.write("hosts", "10.77.0.1:2301\n10.77.0.2:2301\n");
    let line = format!("{LOG} --speed 60");
    let mut both = [hosts.start(&place, &line, 0), hosts.start(&place, &line, 1)];
    for run in &mut both {
        assert!(run.says(" watching "), "{}", run.stderr());
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(ip(&format!("-n {0}b link set {0}b down", hosts.0)));
    let since = Instant::now();
    for run in both {
        let outcome = run.finish();
        outcome.error(&["of this run has ended or cannot be reached"]);
        assert_eq!(outcome.code, Some(75));
    }
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
}
