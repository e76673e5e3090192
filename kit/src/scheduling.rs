//! How the kernel schedules a server's threads.

use std::io;

/// When a thread that has been woken may run (Linux, sched(7); nothing elsewhere).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheduling {
    /// When the thread that has the processor is done, or has used up its slice: fewer switches,
    /// and more messages in each write
    #[default]
    Batch,
    /// As soon as the kernel finds it fair: for a machine that other programs keep busy
    Normal,
}

impl Scheduling {
    /// Schedules the calling thread, and all that it will start, so. Whoever started the process with
    /// another policy than the kernel's default has chosen: that stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn apply(self) -> io::Result<()> {
        match self {
            Self::Batch => policy::replace(policy::NORMAL, policy::BATCH),
            Self::Normal => Ok(()),
        }
    }
}

/// Takes the calling thread out of [`Scheduling::Batch`]: for one that sleeps mostly, and that many
/// wait for.
///
/// # Errors
/// When the kernel refuses.
pub fn run_promptly() -> io::Result<()> {
    policy::replace(policy::BATCH, policy::NORMAL)
}

#[cfg(target_os = "linux")]
mod policy {
    use std::io;

    use preempt_rt::sched::{
        Pid, PreemptRtError, Scheduler, SchedulerParams, get_scheduler, set_scheduler,
    };

    pub(super) const NORMAL: Scheduler = Scheduler::SCHED_NORMAL;
    pub(super) const BATCH: Scheduler = Scheduler::SCHED_BATCH;

    /// Sets the calling thread's policy where it is `from`.
    pub(super) fn replace(from: Scheduler, to: Scheduler) -> io::Result<()> {
        let thread = Pid::current_thread();
        match get_scheduler(thread) {
            // The only priority that there is with either (sched(7)).
            Ok(policy) if policy == from => {
                set_scheduler(thread, to, SchedulerParams { priority: 0 }).map_err(error)
            }
            Ok(_) | Err(PreemptRtError::UnknownScheduler(_)) => Ok(()),
            Err(other) => Err(error(other)),
        }
    }

    fn error(error: PreemptRtError) -> io::Error {
        match error {
            PreemptRtError::Errno(code) => io::Error::from_raw_os_error(code),
            other => io::Error::other(other),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod policy {
    pub(super) const NORMAL: () = ();
    pub(super) const BATCH: () = ();

    pub(super) fn replace((): (), (): ()) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::thread;

    use preempt_rt::sched::{Pid, Scheduler, get_scheduler};

    use super::*;

    fn of_this_thread() -> Scheduler {
        get_scheduler(Pid::current_thread()).unwrap()
    }

    #[test]
    fn a_thread_hands_its_scheduling_to_those_that_it_starts_and_each_may_leave_it() {
        let policies = thread::spawn(|| {
            Scheduling::Normal.apply().unwrap();
            let before = of_this_thread();
            Scheduling::Batch.apply().unwrap();
            let started = thread::spawn(|| {
                let inherited = of_this_thread();
                run_promptly().unwrap();
                (inherited, of_this_thread())
            });
            let (inherited, left) = started.join().unwrap();
            [before, of_this_thread(), inherited, left]
        });
        let expected = [policy::NORMAL, policy::BATCH, policy::BATCH, policy::NORMAL];
        assert_eq!(policies.join().unwrap(), expected);
    }
}
