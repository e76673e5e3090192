//! The order of jobs. Jobs of one line are written one after the other, those of different lines together.

use std::collections::{HashMap, VecDeque};

/// Jobs that wait, in lines.
///
/// A line is ready, or locked (another transaction had what it writes to), or under way.
#[derive(Debug)]
pub(super) struct Turns<J> {
    lines: HashMap<u64, Line<J>>,
    ready: VecDeque<u64>,
    locked: VecDeque<u64>,
    /// Jobs in ready lines.
    ready_jobs: usize,
}

#[derive(Debug)]
struct Line<J> {
    jobs: VecDeque<J>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Locked,
    UnderWay,
}

/// Jobs to write together, each with its line, and all of their lines.
#[derive(Debug)]
pub(super) struct Batch<J> {
    pub(super) lines: Vec<u64>,
    pub(super) jobs: Vec<(u64, J)>,
}

// === impl Turns ===

impl<J> Turns<J> {
    pub(super) fn new() -> Self {
        let (ready, locked) = (VecDeque::new(), VecDeque::new());
        Self { lines: HashMap::new(), ready, locked, ready_jobs: 0 }
    }

    /// Returns whether no line has a job that waits or is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Jobs in lines that are ready.
    pub(super) fn ready_jobs(&self) -> usize {
        self.ready_jobs
    }

    /// Returns whether a line is locked.
    pub(super) fn has_locked(&self) -> bool {
        !self.locked.is_empty()
    }

    /// Puts a job at the end of its line.
    pub(super) fn push(&mut self, number: u64, job: J) {
        let line = self.lines.entry(number).or_insert_with(|| {
            self.ready.push_back(number);
            Line { jobs: VecDeque::new(), state: State::Ready }
        });
        line.jobs.push_back(job);
        self.ready_jobs += usize::from(line.state == State::Ready);
    }

    /// Takes at most `most` jobs of lines that are ready, in their order.
    pub(super) fn take_ready(&mut self, most: usize) -> Batch<J> {
        let batch = take(&mut self.lines, &mut self.ready, most);
        // Those that a line has left do not count as ready either.
        let left = batch.lines.iter().filter_map(|line| self.lines.get(line));
        self.ready_jobs -= batch.jobs.len() + left.map(|line| line.jobs.len()).sum::<usize>();
        batch
    }

    /// Takes at most `most` jobs of lines that are locked, those that were so first at first.
    pub(super) fn take_locked(&mut self, most: usize) -> Batch<J> {
        take(&mut self.lines, &mut self.locked, most)
    }

    /// Lines of a batch are no longer under way. `back`, in order, was not written; where that was
    /// for a lock, the line is locked.
    pub(super) fn done(&mut self, lines: &[u64], back: Vec<(u64, J, bool)>) {
        for (number, job, is_locked) in back.into_iter().rev() {
            if let Some(line) = self.lines.get_mut(&number) {
                line.jobs.push_front(job);
                if is_locked {
                    line.state = State::Locked;
                }
            }
        }
        for number in lines {
            let Some(line) = self.lines.get_mut(number) else { continue };
            if line.jobs.is_empty() {
                self.lines.remove(number);
            } else if line.state == State::Locked {
                self.locked.push_back(*number);
            } else {
                line.state = State::Ready;
                self.ready_jobs += line.jobs.len();
                self.ready.push_back(*number);
            }
        }
    }
}

fn take<J>(lines: &mut HashMap<u64, Line<J>>, queue: &mut VecDeque<u64>, most: usize) -> Batch<J> {
    let mut batch = Batch { lines: Vec::new(), jobs: Vec::new() };
    while batch.jobs.len() < most {
        let Some(number) = queue.pop_front() else { break };
        let Some(line) = lines.get_mut(&number) else { continue };
        line.state = State::UnderWay;
        batch.lines.push(number);
        let count = line.jobs.len().min(most - batch.jobs.len());
        batch.jobs.extend(line.jobs.drain(..count).map(|job| (number, job)));
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(jobs: &[(u64, &'static str)]) -> Turns<&'static str> {
        let mut turns = Turns::new();
        for (line, job) in jobs {
            turns.push(*line, *job);
        }
        turns
    }

    fn jobs<'a>(batch: &Batch<&'a str>) -> Vec<&'a str> {
        batch.jobs.iter().map(|(_, job)| *job).collect()
    }

    #[test]
    fn a_line_under_way_keeps_its_later_jobs_and_holds_no_other_line_back() {
        let mut turns = turns(&[(1, "a"), (2, "b"), (1, "c")]);
        let first = turns.take_ready(10);
        assert_eq!(jobs(&first), ["a", "c", "b"]);
        turns.push(1, "d");
        turns.push(3, "e");
        assert_eq!(turns.ready_jobs(), 1);
        assert_eq!(jobs(&turns.take_ready(10)), ["e"]);
        turns.done(&first.lines, Vec::new());
        assert_eq!(jobs(&turns.take_ready(10)), ["d"]);
        assert_eq!(turns.ready_jobs(), 0);
    }

    #[test]
    fn what_does_not_fit_stays_in_order() {
        let mut turns = turns(&[(1, "a"), (1, "b"), (1, "c"), (2, "d")]);
        let first = turns.take_ready(2);
        assert_eq!((jobs(&first), turns.ready_jobs()), (vec!["a", "b"], 1));
        assert_eq!(jobs(&turns.take_ready(2)), ["d"]);
        turns.done(&first.lines, Vec::new());
        assert_eq!((jobs(&turns.take_ready(2)), turns.ready_jobs()), (vec!["c"], 0));
    }

    #[test]
    fn a_locked_line_is_taken_apart_and_in_order() {
        let mut turns = turns(&[(1, "a"), (1, "b"), (2, "c")]);
        let Batch { lines, jobs: taken } = turns.take_ready(10);
        let back = taken.into_iter().filter(|(line, _)| *line == 1);
        turns.done(&lines, back.map(|(line, job)| (line, job, true)).collect());
        turns.push(1, "d");
        turns.push(2, "e");
        assert!(turns.has_locked());
        assert_eq!(jobs(&turns.take_ready(10)), ["e"]);
        let locked = turns.take_locked(10);
        assert_eq!((jobs(&locked), turns.has_locked()), (vec!["a", "b", "d"], false));
        turns.done(&locked.lines, Vec::new());
        turns.done(&[2], Vec::new());
        assert!(turns.is_empty());
    }

    #[test]
    fn what_failed_is_ready_again_before_what_came_later() {
        let mut turns = turns(&[(1, "a"), (1, "b")]);
        let Batch { lines, jobs: taken } = turns.take_ready(10);
        turns.push(1, "c");
        turns.done(&lines, taken.into_iter().map(|(line, job)| (line, job, false)).collect());
        assert_eq!(turns.ready_jobs(), 3);
        assert_eq!(jobs(&turns.take_ready(10)), ["a", "b", "c"]);
    }
}
