//! Where a command writes a file: it appears whole or, whatever becomes of the process, not at all; and never in place of what it was made from.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

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
        let is_file = path.as_os_str() != "-" && !path.starts_with("/dev") && (!path.exists() || path.is_file());
        if !is_file {
            return Ok(destination);
        }
        let itself = absolute(path);
        let beside = PathBuf::from(format!("{}.partial", itself.display()));
        for written in [&itself, &beside] {
            if needed.iter().any(|other| absolute(other) == *written || id(other).is_some_and(|other| id(written) == Some(other))) {
                bail!("output '{}' is a file that this command needs, and that would be lost: name another", written.display());
            }
        }
        if itself.is_symlink() {
            bail!("{}: it is a link to nothing", failed());
        }
        let before = std::fs::metadata(&itself).ok();
        if before.as_ref().is_some_and(|before| before.permissions().readonly()) {
            bail!("{}: it is read-only", failed());
        }
        let file = begin(&beside).with_context(failed)?;
        let partial = Partial { path: beside, file };
        if let Some(before) = before {
            // Who may not give a file away keeps it.
            let _ = fchown(&partial.file, Some(before.uid()), Some(before.gid()));
            partial.file.set_permissions(before.permissions()).with_context(failed)?;
        }
        Ok(Self { partial: Some((partial, itself)), ..destination })
    }

    /// The file itself, as no other way of writing its name has it; `None` for what is none.
    pub fn file(&self) -> Option<&Path> {
        self.partial.as_ref().map(|(_, file)| file.as_path())
    }

    /// Begins to write.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self) -> Result<Box<dyn Write + Send>> {
        let out: io::Result<File> = match &self.partial {
            None if self.path.as_os_str() == "-" => return Ok(Box::new(io::stdout())),
            None => File::create(&self.path),
            Some((partial, _)) => partial.file.try_clone(),
        };
        Ok(Box::new(out.with_context(|| self.failed())?))
    }

    /// Puts what was written in its place.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(self) -> Result<()> {
        match &self.partial {
            Some((partial, file)) => std::fs::rename(&partial.path, file).with_context(|| self.failed()),
            None => Ok(()),
        }
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
    use std::os::unix::fs::PermissionsExt;

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
        assert!(Destination::new(Path::new("/dev/null"), &["/dev/null".into()]).unwrap().file().is_none());
    }
}
