//! A machine of its own for a server: a network namespace whose cable can be pulled.

use std::{
    fs::{self, Permissions},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Hardware address of no interface.
const NO_ONE: &str = "02:00:00:00:00:01";

/// A network namespace, joined to this one by a pair of virtual interfaces. Needs root and iproute2
/// (`scripts/install-iproute2`). Removed when dropped; drop what runs in it before.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The interface at this end.
    cable: String,
    near: Ipv4Addr,
    far: Ipv4Addr,
}

impl Namespace {
    /// Makes one; `None` where this user may not, or where the system cannot.
    pub fn create() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = rand::random::<u32>();
        let name = format!("imago-{number:08x}");
        run(&format!("netns add {name}"))?;
        // One of the networks of four addresses in 10.128.0.0/9.
        let network = 0x0a80_0000 | (number & 0x007f_fffc);
        let (near, far) = (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2));
        let namespace = Self { name, cable: format!("ig{number:08x}"), near, far };
        namespace.join()?;
        Some(namespace)
    }

    fn join(&self) -> Option<()> {
        let Self { name, cable, near, far } = self;
        let inner = self.inner_cable();
        run(&format!("link add {cable} type veth peer name {inner}"))?;
        run(&format!("link set {inner} netns {name}"))?;
        run(&format!("address add {near}/30 dev {cable}"))?;
        run(&format!("link set {cable} up"))?;
        run(&format!("-n {name} address add {far}/30 dev {inner}"))?;
        run(&format!("-n {name} link set {inner} up"))?;
        run(&format!("-n {name} link set lo up"))
    }

    /// Address of this end: servers outside of the namespace have to listen there.
    pub fn near(&self) -> Ipv4Addr {
        self.near
    }

    /// Address of a server in the namespace.
    pub fn far(&self) -> Ipv4Addr {
        self.far
    }

    /// Pulls the cable: no packet arrives at either end, and neither end is told.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn unplug(&self) {
        // An interface that is down refuses what is sent, with errors. Frames to a machine that is not
        // on the cable are lost in silence.
        let Self { name, cable, near, far } = self;
        let inner = self.inner_cable();
        must(&format!("neighbour replace {far} lladdr {NO_ONE} dev {cable} nud permanent"));
        must(&format!(
            "-n {name} neighbour replace {near} lladdr {NO_ONE} dev {inner} nud permanent"
        ));
    }

    /// Plugs the cable in again.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn plug_in(&self) {
        let Self { name, cable, near, far } = self;
        must(&format!("neighbour del {far} dev {cable}"));
        must(&format!("-n {name} neighbour del {near} dev {}", self.inner_cable()));
    }

    /// The interface in the namespace.
    fn inner_cable(&self) -> String {
        self.cable.replace("ig", "in")
    }

    /// Writes a program into the folder that runs `program` in the namespace, as the same process.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn runs(&self, program: &Path, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}-{}", self.name, rand::random::<u32>()));
        let script =
            format!("#!/bin/sh\nexec ip netns exec {} '{}' \"$@\"\n", self.name, program.display());
        fs::write(&path, script).expect("the folder can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("the file is ours");
        path
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Takes the other end along.
        ip(&format!("link del {}", self.cable));
        ip(&format!("netns del {}", self.name));
    }
}

/// Runs `ip` with these words; `None` where there is none.
fn ip(words: &str) -> Option<Output> {
    Command::new("ip").args(words.split(' ')).output().ok()
}

/// `None` where it fails.
fn run(words: &str) -> Option<()> {
    ip(words)?.status.success().then_some(())
}

fn must(words: &str) {
    let ran = ip(words).expect("no ip: run scripts/install-iproute2");
    assert!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_namespace_is_reached_by_its_cable_only_and_leaves_nothing_behind() {
        let Some(namespace) = Namespace::create() else {
            println!("no namespaces here: machines are isolated by proxies");
            return;
        };
        let near = TcpListener::bind((namespace.near(), 0)).unwrap();
        let reaches = || {
            let far = (namespace.far(), 9).into();
            TcpStream::connect_timeout(&far, Duration::from_millis(300)).unwrap_err().kind()
        };
        // The machine is there and refuses; without the cable, nothing answers.
        assert_eq!(reaches(), std::io::ErrorKind::ConnectionRefused);
        namespace.unplug();
        assert_ne!(reaches(), std::io::ErrorKind::ConnectionRefused);
        namespace.plug_in();
        assert_eq!(reaches(), std::io::ErrorKind::ConnectionRefused);
        drop(near);
        let (name, cable) = (namespace.name.clone(), namespace.cable.clone());
        drop(namespace);
        let left = ip("netns list").unwrap();
        assert!(!String::from_utf8_lossy(&left.stdout).contains(&name));
        assert!(!ip(&format!("link show {cable}")).unwrap().status.success());
    }
}
