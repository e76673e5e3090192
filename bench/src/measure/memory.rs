//! Memory that the kernel has taken for connections: of this whole machine, as Linux counts nothing
//! of it by process.

use anyhow::Context;

/// What the kernel holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Buffers of TCP sockets (`mem` in `/proc/net/sockstat`).
    pub(crate) buffers: u64,
    /// The kernel's own objects, sockets among them (`Slab` in `/proc/meminfo`).
    pub(crate) slab: u64,
}

impl Kernel {
    /// Reads it.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
        let (sockets, memory) = (read("/proc/net/sockstat")?, read("/proc/meminfo")?);
        let page = rustix::param::page_size() as u64;
        Self::parse(&sockets, &memory, page).context("no TCP mem or no Slab in /proc")
    }

    fn parse(sockets: &str, memory: &str, page: u64) -> Option<Self> {
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let pages = tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1)?;
        let slab = memory.lines().find_map(|line| line.strip_prefix("Slab:"))?;
        let slab = slab.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?;
        Some(Self { buffers: pages.parse::<u64>().ok()? * page, slab: slab * 1024 })
    }

    /// What has come on top since then, of each kind.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            buffers: self.buffers.saturating_sub(before.buffers),
            slab: self.slab.saturating_sub(before.slab),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_kilobytes_are_read_as_bytes() {
        let sockets = "sockets: used 25\nTCP: inuse 3 orphan 0 tw 0 alloc 3 mem 179\nUDP: mem 1\n";
        let memory = "MemTotal: 9 kB\nSlab:             896748 kB\nSReclaimable: 1 kB\n";
        let kernel = Kernel::parse(sockets, memory, 4096);
        assert_eq!(kernel, Some(Kernel { buffers: 179 * 4096, slab: 896_748 * 1024 }));
        assert_eq!(Kernel::parse("TCP: inuse 3", memory, 4096), None);
        assert_eq!(Kernel::parse(sockets, "Slab: much", 4096), None);
    }

    #[test]
    fn what_has_become_less_has_not_grown() {
        let (small, large) = (Kernel { buffers: 1, slab: 9 }, Kernel { buffers: 5, slab: 2 });
        assert_eq!(large.since(small), Kernel { buffers: 4, slab: 0 });
    }
}
