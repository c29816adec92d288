//! Where a command writes a file: it appears whole or not at all, and never in place of what it was made from.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a command writes: a file, a device or standard output.
pub struct Destination {
    /// As it was named; `-` is standard output.
    path: PathBuf,
    /// Of a file: the file itself, behind a link.
    file: Option<PathBuf>,
    /// What is being written in its place, locked.
    partial: Option<(PathBuf, File)>,
}

impl Destination {
    /// A place that can be written, as far as can be told before. `needed` are files that must not be lost by it.
    ///
    /// # Errors
    /// A folder, one that is not there, or one of `needed`.
    pub fn new(path: &Path, needed: &[PathBuf]) -> Result<Self> {
        let place = path.display();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) || path.is_dir() {
            bail!("output '{place}' cannot be written: there is no such folder, or it is one");
        }
        let itself = path.canonicalize().ok();
        // One that is not there yet may be made before this one.
        if needed.iter().any(|other| other == path || itself.is_some() && other.canonicalize().ok() == itself) {
            bail!("output '{place}' is a file that this command needs, and that would be lost: name another");
        }
        // A device has nothing to be left.
        let is_file = path.as_os_str() != "-" && (!path.exists() || path.is_file());
        Ok(Self { path: path.into(), file: is_file.then(|| itself.unwrap_or_else(|| path.into())), partial: None })
    }

    /// Whether everything that is written is seen at once, and cannot be taken back.
    pub fn is_stream(&self) -> bool {
        self.file.is_none()
    }

    /// Begins to write. A file is written beside itself, with the permissions that it had: what is there stays until [`Destination::keep`].
    ///
    /// # Errors
    /// What cannot be opened, or is being written by another process.
    pub fn open(&mut self) -> Result<Box<dyn Write + Send>> {
        let out: io::Result<Box<dyn Write + Send>> = match &self.file {
            None if self.path.as_os_str() == "-" => Ok(Box::new(io::stdout())),
            None => File::create(&self.path).map(|device| Box::new(device) as Box<dyn Write + Send>),
            Some(file) => begin(file).and_then(|(path, file)| {
                let out = Box::new(file.try_clone()?);
                self.partial = Some((path, file));
                Ok(out as Box<dyn Write + Send>)
            }),
        };
        out.with_context(|| self.failed())
    }

    /// Puts what was written in its place.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(mut self) -> Result<()> {
        if let (Some((partial, _lock)), Some(file)) = (self.partial.take(), &self.file) {
            std::fs::rename(&partial, file).inspect_err(|_| drop(std::fs::remove_file(&partial))).with_context(|| self.failed())?;
        }
        Ok(())
    }

    /// The sentence that an error begins with.
    pub fn failed(&self) -> String {
        format!("output '{}' cannot be written", self.path.display())
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some((path, _lock)) = &self.partial {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An empty file beside `file`, for this process alone. One that a killed process has left is taken over.
fn begin(file: &Path) -> io::Result<(PathBuf, File)> {
    let path = PathBuf::from(format!("{}.partial", file.display()));
    loop {
        let partial = File::options().create(true).append(true).open(&path)?;
        match partial.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process is writing it just now")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Between opening and locking, its writer may have put it in its place.
        if std::fs::metadata(&path).is_ok_and(|there| partial.metadata().is_ok_and(|here| here.ino() == there.ino())) {
            partial.set_len(0)?;
            if let Ok(before) = std::fs::metadata(file) {
                partial.set_permissions(before.permissions())?;
            }
            return Ok((path, partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn write(destination: &mut Destination, text: &str) {
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

        let mut given_up = Destination::new(&path, &[]).unwrap();
        write(&mut given_up, "half");
        let mut second = Destination::new(&path, &[]).unwrap();
        assert!(format!("{:#}", second.open().err().unwrap()).contains("another process"));
        drop(given_up);
        assert_eq!((text().as_str(), partial.exists()), ("before", false));

        write(&mut second, "after");
        second.keep().unwrap();
        assert_eq!((text().as_str(), partial.exists()), ("after", false));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_needed_is_not_written_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let (input, link) = (folder.path().join("log.jsonl"), folder.path().join("link.csv"));
        std::fs::write(&input, "{}").unwrap();
        std::os::unix::fs::symlink(&input, &link).unwrap();
        for path in [&input, &link] {
            let refused = Destination::new(path, std::slice::from_ref(&input)).err().unwrap().to_string();
            assert!(refused.contains("this command needs"), "{refused}");
        }
        assert!(Destination::new(&folder.path().join("other.csv"), &[input]).is_ok());
        assert!(Destination::new(Path::new("/dev/null"), &[]).unwrap().is_stream());
    }
}
