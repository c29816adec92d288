//! `compose.yml`, the image and the manifests for Kubernetes, as far as they can be wrong without an engine to run them.

use serde_yaml_ng::{Mapping, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compose() -> Value {
    let mut file: Value = serde_yaml_ng::from_str(&read("compose.yml")).unwrap();
    file.apply_merge().unwrap();
    file
}

fn services(file: &Value) -> impl Iterator<Item = (&str, &Mapping)> {
    file["services"].as_mapping().unwrap().iter().map(|(name, service)| (name.as_str().unwrap(), service.as_mapping().unwrap()))
}

/// The texts of a list; none where there is no list.
fn words<'a>(service: &'a Mapping, key: &str) -> Vec<&'a str> {
    service.get(key).and_then(Value::as_sequence).map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_mapping().map(|map| map.keys().filter_map(Value::as_str).collect()).unwrap_or_default()
}

#[test]
fn services_are_pinned_limited_and_reached_from_this_machine_alone() {
    let file = compose();
    for (name, service) in services(&file) {
        let (_, tag) = service["image"].as_str().unwrap().rsplit_once(':').unwrap_or_else(|| panic!("{name} takes any version"));
        assert!(tag.contains(|c: char| c.is_ascii_digit()) && tag.contains('.'), "{name} is of the version {tag}");
        assert!(service.contains_key("mem_limit") && service.contains_key("restart"), "{name} has no limit, or is never started again");
        for port in words(service, "ports") {
            assert!(port.starts_with("127.0.0.1:"), "{name} is reached from other machines at {port}");
        }
        let ends = ["topic", "backfill"].contains(&name);
        assert_eq!(service["restart"], if ends { "on-failure" } else { "unless-stopped" }, "{name}");
    }
    assert!(!read("compose.yml").contains("sleep"), "wait for what is to happen, not for a time");
}

#[test]
fn whoever_waits_for_a_service_waits_for_one_that_says_how_it_is() {
    let file = compose();
    let all = keys(&file["services"]);
    for (name, service) in services(&file) {
        for (other, wait) in service.get("depends_on").and_then(Value::as_mapping).into_iter().flatten() {
            let other = other.as_str().unwrap();
            assert!(all.contains(other), "{name} waits for {other}, which is not there");
            let target = &file["services"][other];
            match wait["condition"].as_str().unwrap() {
                "service_healthy" => assert!(target["healthcheck"]["test"].is_sequence(), "{other} does not say how it is"),
                "service_completed_successfully" => assert_eq!(target["restart"], "on-failure", "{other} does not end"),
                condition => assert_eq!(condition, "service_started", "{name}"),
            }
        }
    }
}

#[test]
fn secrets_volumes_and_files_are_there_and_no_password_is_written_down() {
    let file = compose();
    let (secrets, volumes) = (keys(&file["secrets"]), keys(&file["volumes"]));
    for (name, service) in services(&file) {
        let own: BTreeSet<&str> = words(service, "secrets").into_iter().collect();
        assert!(own.is_subset(&secrets), "{name}: {own:?}");
        for volume in words(service, "volumes") {
            let (from, _) = volume.split_once(':').unwrap();
            let found = if from.starts_with('.') { root().join(from).exists() } else { volumes.contains(from) };
            assert!(found, "{name} mounts {from}, which is not there");
        }
        for (key, value) in service.get("environment").and_then(Value::as_mapping).into_iter().flatten() {
            let (key, value) = (key.as_str().unwrap(), value.as_str().unwrap_or_default());
            if let Some(secret) = value.strip_prefix("/run/secrets/") {
                assert!(own.contains(secret), "{name} is not given the secret {secret}, which {key} names");
            } else {
                assert!(!key.contains("PASSWORD") || value.starts_with("${"), "{name}: {key} is written down");
            }
        }
    }
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_nobody_in_particular() {
    let (text, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let lines: Vec<&str> = text.lines().collect();
    let of = |word: &str| lines.iter().filter_map(|line| line.strip_prefix(word)).collect::<Vec<_>>();
    assert!(of("FROM ").iter().all(|image| image.contains(':') && !image.contains("latest")), "{:?}", of("FROM "));
    assert!(of("USER ").last().is_some_and(|user| *user != "root" && !user.starts_with('0')), "who runs it?");
    for copy in of("COPY ").into_iter().filter(|copy| !copy.starts_with("--from")) {
        let mut names: Vec<&str> = copy.split_whitespace().collect();
        names.pop();
        for name in names {
            assert!(root().join(name).exists(), "{name} is not there");
            assert!(ignored.lines().any(|line| line == format!("!{name}")), ".dockerignore keeps {name} out");
        }
    }
}

/// Every manifest of `deploy/kubernetes`.
fn manifests() -> Vec<Value> {
    let kustomization: Value = serde_yaml_ng::from_str(&read("deploy/kubernetes/kustomization.yaml")).unwrap();
    let resources = kustomization["resources"].as_sequence().unwrap().clone();
    let parse = |text: String| -> Vec<Value> {
        use serde::Deserialize;
        serde_yaml_ng::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
    };
    resources.iter().flat_map(|name| parse(read(&format!("deploy/kubernetes/{}", name.as_str().unwrap())))).collect()
}

#[test]
fn as_many_processes_are_started_in_kubernetes_as_have_a_host_and_wait_for_one_another() {
    let all = manifests();
    let of = |kind: &str| all.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let (workers, config) = (of("StatefulSet"), read("deploy/kubernetes/config.env"));
    let replicas = workers["spec"]["replicas"].as_u64().unwrap();
    let service = workers["spec"]["serviceName"].as_str().unwrap();
    let hosts: Vec<String> = read("deploy/kubernetes/hosts").lines().map(str::to_owned).collect();
    let expected: Vec<String> = (0..replicas).map(|process| format!("tidewatch-{process}.{service}:2101")).collect();
    assert_eq!(hosts, expected);
    assert!(config.contains(&format!("TIDEWATCH_PROCESSES={replicas}\n")), "{config}");
    assert_eq!(workers["spec"]["podManagementPolicy"], "Parallel", "one alone is never ready");
    let headless = all.iter().find(|one| one["kind"] == "Service" && one["metadata"]["name"] == service).unwrap();
    assert!(headless["spec"]["clusterIP"] == "None" && headless["spec"]["publishNotReadyAddresses"] == true);
    let labels = &workers["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&workers["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
    let container = &workers["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    for pod in [workers, of("Deployment")].map(|one| &one["spec"]["template"]["spec"]) {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
        assert!(pod["containers"][0]["resources"]["limits"]["memory"].is_string());
    }
}

#[test]
fn kustomize_takes_the_manifests() {
    let folder: PathBuf = root().join("deploy/kubernetes");
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(folder).output() else {
        eprintln!("skipped: kubectl is not there");
        return;
    };
    let (rendered, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(rendered.matches("\nkind: ").count(), 8, "{rendered}");
}
