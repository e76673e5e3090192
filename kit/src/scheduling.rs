//! How the kernel schedules a server's threads.

use std::io;

/// When a thread that is woken may run (Linux, sched(7); ignored elsewhere).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheduling {
    /// As soon as the kernel finds it fair, like the threads of other programs
    #[default]
    Normal,
    /// When the running thread sleeps or has used up its slice: fewer switches and a tenth more messages, on
    /// a machine that runs nothing else
    Batch,
}

impl Scheduling {
    /// Applies the policy to the calling thread, and to the threads that it starts from now on. A policy
    /// other than the kernel's default, with which the process was started, stays.
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

/// Takes the calling thread out of [`Scheduling::Batch`]. Without that policy, it changes nothing. It is meant
/// for a thread that mostly sleeps, and that many others wait for.
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

    /// Changes the policy of the calling thread from `from` to `to`; any other policy stays.
    pub(super) fn replace(from: Scheduler, to: Scheduler) -> io::Result<()> {
        let thread = Pid::current_thread();
        match get_scheduler(thread) {
            // Both policies have no other priority (sched(7)).
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

    fn own_policy() -> Scheduler {
        get_scheduler(Pid::current_thread()).unwrap()
    }

    #[test]
    fn a_thread_inherits_its_policy_and_may_leave_it() {
        let policies = thread::spawn(|| {
            Scheduling::default().apply().unwrap();
            let before = own_policy();
            Scheduling::Batch.apply().unwrap();
            let started = thread::spawn(|| {
                let inherited = own_policy();
                run_promptly().unwrap();
                (inherited, own_policy())
            });
            let (inherited, left) = started.join().unwrap();
            [before, own_policy(), inherited, left]
        });
        let expected = [policy::NORMAL, policy::BATCH, policy::BATCH, policy::NORMAL];
        assert_eq!(policies.join().unwrap(), expected);
    }
}
