//! A disk of a few megabytes, to be filled.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A file system in memory. Needs root. Unmounted when dropped; drop what uses it before.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one; `None` where this user may not, or where the system cannot.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    pub fn mount(megabytes: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "imago-test"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|ran| ran.status.success());
        is_mounted.then_some(Self { folder })
    }

    /// Its root.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.folder().join("filler")
    }

    /// Leaves no byte free.
    ///
    /// # Panics
    /// When the disk cannot be written at all.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("the disk has room for a name");
        let block = [7; 4096];
        while filler.write_all(&block).is_ok() {}
    }

    /// Frees what [`fill`](Self::fill) took.
    ///
    /// # Panics
    /// When the disk is not full.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it is full");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still uses it keeps it until its end.
        let _ = Command::new("umount").arg("-l").arg(self.folder()).output();
    }
}
