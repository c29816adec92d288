//! Where a command writes a file: it appears whole or, whatever becomes of the process, not at all; and never in place of what it was made from.

use anyhow::{Context, Result, bail};
use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Standard output by its other name, and where what is open already is found: a file behind it is another's to replace.
const STANDARD_OUTPUT: &str = "/dev/stdout";
const OPEN_ALREADY: [&str; 3] = ["/dev/stderr", "/dev/fd", "/proc/self/fd"];

/// Where a command writes: a file, a device or standard output.
pub struct Destination {
    /// As it was named; `-` is standard output.
    path: PathBuf,
    /// Of a file: what is being written in its place, and the file itself, behind a link.
    partial: Option<(Partial, PathBuf)>,
}

/// A file that is written, locked, and gone unless it is kept.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Destination {
    /// A place that can be written. A file is begun beside itself, empty, with the permissions that it has: what is there stays until
    /// [`Destination::keep`]. `needed` are files that must not be lost by it.
    ///
    /// # Errors
    /// A folder, one that is not there, one of `needed`, what may not be written, or what another process writes.
    pub fn new(path: &Path, needed: &[PathBuf]) -> Result<Self> {
        let destination = Self { path: path.into(), partial: None };
        let failed = || destination.failed();
        if !folder(path).is_dir() || path.is_dir() {
            bail!("{}: there is no such folder, or it is one", failed());
        }
        // A device has nothing to be left.
        let is_open = destination.is_standard_output() || OPEN_ALREADY.iter().any(|open| path.starts_with(open));
        if is_open || path.exists() && !path.is_file() {
            return Ok(destination);
        }
        let itself = absolute(path);
        // Where it is written until it is whole.
        let beside = itself.with_added_extension("partial");
        for written in [&itself, &beside] {
            if needed.iter().any(|other| absolute(other) == *written || id(other).is_some_and(|other| id(written) == Some(other))) {
                bail!("output '{}' is a file that this command needs, and that would be lost: name another", written.display());
            }
        }
        if itself.is_symlink() {
            bail!("{}: it is a link to nothing", failed());
        }
        let before = std::fs::metadata(&itself).ok();
        if let Some(before) = &before {
            if before.permissions().readonly() {
                bail!("{}: it is read-only", failed());
            }
            // To replace it asks for nothing but its folder.
            File::options().append(true).open(&itself).with_context(failed)?;
        }
        let file = begin(&beside).with_context(failed)?;
        let partial = Partial { path: beside, file };
        before.map_or(Ok(()), |before| keep_rights(&partial.file, &before)).with_context(failed)?;
        Ok(Self { partial: Some((partial, itself)), ..destination })
    }

    /// The file itself, as no other way of writing its name has it, and what is written in its place; nothing for what is no file.
    pub fn files(&self) -> Vec<PathBuf> {
        self.partial.iter().flat_map(|(partial, file)| [file.clone(), partial.path.clone()]).collect()
    }

    /// Whether this is standard output.
    pub fn is_standard_output(&self) -> bool {
        [Path::new("-"), Path::new(STANDARD_OUTPUT)].contains(&&*self.path)
    }

    /// Whether what is written can be taken back until [`Destination::keep`]: a pipe has it at once.
    pub fn is_revocable(&self) -> bool {
        self.partial.is_some()
    }

    /// Begins to write.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self) -> Result<Box<dyn Write + Send>> {
        let out: io::Result<File> = match &self.partial {
            None if self.is_standard_output() => return Ok(Box::new(io::stdout())),
            None => File::options().append(true).open(&self.path),
            Some((partial, _)) => partial.file.try_clone(),
        };
        Ok(Box::new(out.with_context(|| self.failed())?))
    }

    /// Puts what was written in its place. A file that is mounted by itself cannot be replaced, and is written over.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(self) -> Result<()> {
        let Some((partial, file)) = &self.partial else { return Ok(()) };
        let replaced = std::fs::rename(&partial.path, file);
        match replaced {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::fs::copy(&partial.path, file).map(|_| ()),
            outcome => outcome,
        }
        .with_context(|| self.failed())
    }

    /// The sentence that an error begins with.
    pub fn failed(&self) -> String {
        format!("output '{}' cannot be written", self.path.display())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // One that was kept is no longer there, or is another's by now.
        if is_there(&self.path, &self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The folder that a path leads into.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A path as no other way of writing it is: of what is not there yet, the name in its folder.
fn absolute(path: &Path) -> PathBuf {
    let named = || Some(folder(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(named).unwrap_or_else(|| path.into())
}

/// Gives a file the owner, the group and the permissions of the one before it, as far as this process may. A group that could not be kept is no
/// reason for another one to be let in.
fn keep_rights(file: &File, before: &Metadata) -> io::Result<()> {
    // Who may not give a file away keeps it.
    let _ = fchown(file, Some(before.uid()), None);
    let is_of_group = fchown(file, None, Some(before.gid())).is_ok();
    let mode = if is_of_group { before.mode() } else { before.mode() & !0o070 };
    file.set_permissions(Permissions::from_mode(mode & 0o7777))
}

/// What the system knows a file by, whatever its names; `None` where there is none. It is not opened: a pipe would be waited for, and a database lose its
/// locks.
fn id(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

/// Whether a path leads to an open file.
fn is_there(path: &Path, file: &File) -> bool {
    file.metadata().is_ok_and(|here| id(path) == Some((here.dev(), here.ino())))
}

/// An empty file for this process alone. One that a killed process has left is taken over.
fn begin(path: &Path) -> io::Result<File> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("it is written as '{}' first: {error}", path.display()));
    if path.is_symlink() {
        return Err(failed(io::Error::other("that is a link")));
    }
    loop {
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process is writing it just now")),
            // There are file systems without locks.
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => return Err(failed(error)),
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        // Between opening and locking, its writer may have put it in its place.
        if is_there(path, &file) {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(destination: &Destination, text: &str) {
        destination.open().unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_file_is_replaced_at_the_end_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (path, partial) = (folder.path().join("rows.csv"), folder.path().join("rows.csv.partial"));
        std::fs::write(&path, "before").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        // What a killed process has left.
        std::fs::write(&partial, "more than will be written").unwrap();
        let text = || std::fs::read_to_string(&path).unwrap();

        let given_up = Destination::new(&path, &[]).unwrap();
        write(&given_up, "half");
        assert!(format!("{:#}", Destination::new(&path, &[]).err().unwrap()).contains("another process"));
        drop(given_up);
        assert_eq!((text().as_str(), partial.exists()), ("before", false));

        let second = Destination::new(&path, &[]).unwrap();
        write(&second, "after");
        second.keep().unwrap();
        assert_eq!((text().as_str(), partial.exists()), ("after", false));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_may_not_be_written_is_refused_before_anything_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let (locked, dangling) = (folder.path().join("locked.csv"), folder.path().join("dangling.csv"));
        std::fs::write(&locked, "").unwrap();
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o444)).unwrap();
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        let planted = folder.path().join("rows.csv.partial");
        std::os::unix::fs::symlink(&locked, &planted).unwrap();
        for (path, why) in [(&locked, "read-only"), (&dangling, "a link to nothing"), (&folder.path().join("rows.csv"), "rows.csv.partial")]
        {
            let refused = format!("{:#}", Destination::new(path, &[]).err().unwrap());
            assert!(refused.contains(why), "{refused}");
        }
        assert!(planted.is_symlink());
    }

    #[test]
    fn what_is_needed_is_not_written_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let in_folder = |name: &str| folder.path().join(name);
        std::fs::write(in_folder("log.jsonl"), "{}").unwrap();
        std::fs::write(in_folder("rows.csv.partial"), "{}").unwrap();
        std::os::unix::fs::symlink(in_folder("log.jsonl"), in_folder("link.csv")).unwrap();
        std::fs::hard_link(in_folder("log.jsonl"), in_folder("hard.csv.partial")).unwrap();
        std::fs::create_dir(in_folder("sub")).unwrap();
        // One that nobody writes into yet.
        assert!(std::process::Command::new("mkfifo").arg(in_folder("labels")).status().unwrap().success());
        let needed = ["labels", "log.jsonl", "rows.csv.partial", "sub/../new.db"].map(in_folder);
        for name in ["log.jsonl", "link.csv", "sub/../log.jsonl", "rows.csv", "hard.csv", "new.db", "sub/../new.db"] {
            let refused = Destination::new(&in_folder(name), &needed).err().unwrap().to_string();
            assert!(refused.contains("this command needs"), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(in_folder("rows.csv.partial")).unwrap(), "{}");
        assert!(Destination::new(&in_folder("other.csv"), &needed).is_ok());
        assert!(Destination::new(Path::new("/dev/null"), &["/dev/null".into()]).unwrap().files().is_empty());
    }

    /// Failed once: whatever lay in /dev was taken for a device, and files there were lost.
    #[test]
    fn a_file_among_devices_is_a_file_and_standard_output_is_none() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let log = folder.path().join("log.jsonl");
        std::fs::write(&log, "{}").unwrap();
        let around = Path::new("/dev/..").join(log.strip_prefix("/").unwrap());
        for path in [&log, &around] {
            assert!(Destination::new(path, std::slice::from_ref(&log)).is_err(), "{}", path.display());
        }
        assert!(Destination::new(Path::new("/dev/stdout"), &[]).unwrap().is_standard_output());
    }

    #[test]
    fn a_name_may_be_any_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        std::fs::create_dir(&odd).unwrap();
        let destination = Destination::new(&odd.join("rows.csv"), &[]).unwrap();
        write(&destination, "rows");
        destination.keep().unwrap();
        assert_eq!(std::fs::read_to_string(odd.join("rows.csv")).unwrap(), "rows");
    }

    #[test]
    fn a_file_keeps_its_owner_and_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o660)).unwrap();
        if let Err(error) = std::os::unix::fs::chown(&path, Some(1234), Some(2345)) {
            eprintln!("skipped: only root gives files away ({error})");
            return;
        }
        let destination = Destination::new(&path, &[]).unwrap();
        write(&destination, "rows");
        destination.keep().unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!((after.uid(), after.gid(), after.mode() & 0o777, after.len()), (1234, 2345, 0o660, 4));
    }
}
