//! Writing the topology file: whole or not at all, and not over somebody else's change.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Exit, Failure};

/// Why the file is what it was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system said no.
    #[error("{} cannot be written", path.display())]
    Io {
        /// The file as named by the operator.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it was when it was read.
    #[error("{} was changed by somebody else in the meantime", path.display())]
    Changed {
        /// The file as named by the operator.
        path: PathBuf,
    },
}

impl Failure for WriteError {
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn hints(&self) -> Vec<String> {
        vec!["look at the file, and run the same command again".into()]
    }
}

/// Puts `new` in the place of `old`, with the same permissions. A symbolic link stays one; what it leads to is replaced.
pub fn replace(path: &Path, old: &str, new: &str) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { path: path.to_owned(), source };
    let target = std::fs::canonicalize(path).map_err(failed)?;
    if std::fs::read_to_string(&target).map_err(failed)? != old {
        return Err(WriteError::Changed { path: path.to_owned() });
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    let write = || {
        // In the same folder, since only within one file system a rename is atomic.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(new.as_bytes())?;
        file.as_file().set_permissions(std::fs::metadata(&target)?.permissions())?;
        file.as_file().sync_all()?;
        file.persist(&target).map_err(|error| error.error)
    };
    write().map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_behind_its_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("real.toml"), folder.path().join("topology.toml"));
        std::fs::write(&file, "old").expect("writable");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("ours");
        symlink(&file, &link).expect("a link");
        replace(&link, "old", "new").expect("it is as it was read");
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), "new");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).expect("there").is_symlink());
        assert!(matches!(replace(&link, "old", "newer"), Err(WriteError::Changed { .. })));
        assert!(matches!(replace(&folder.path().join("none"), "", "x"), Err(WriteError::Io { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 2, "nothing is left behind");
    }
}
