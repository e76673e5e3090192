//! Days in the life of a few accounts, as random as it gets: who sees what is what a model says.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::cell::RefCell;

use imago_tests::{Cast, PostgresServer, day};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use tokio::runtime::Runtime;

/// Unless `PROPTEST_CASES` says something else.
const DAYS: u32 = 6;
/// Most operations in a day.
const OPS: usize = 60;
/// Seeds of days that failed; they are lived through first.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/day.txt");

fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(DAYS),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(SEEDS))),
        max_shrink_time: 90_000,
        ..Config::default()
    }
}

/// Lives through days on the same servers.
fn live(runtime: &Runtime, cast: Cast) {
    let cast = RefCell::new(cast);
    let mut runner = TestRunner::new(config());
    let outcome = runner.run(&day(OPS), |ops| {
        let faults = runtime.block_on(cast.borrow_mut().live(&ops));
        match faults.first() {
            None => Ok(()),
            Some(fault) => {
                Err(TestCaseError::fail(format!("{} faults, first: {fault}", faults.len())))
            }
        }
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, ops)) => {
            let ops: String = ops.iter().map(|op| format!("    {op:?},\n")).collect();
            panic!("{why}\nin a day of [\n{ops}]");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn everybody_sees_what_the_model_says_on_sqlite() {
    let runtime = Runtime::new().unwrap();
    let cast = runtime.block_on(Cast::start(None));
    live(&runtime, cast);
}

#[test]
fn everybody_sees_what_the_model_says_on_postgresql() {
    let runtime = Runtime::new().unwrap();
    let cast = runtime.block_on(async {
        let url = PostgresServer::shared().await.database().await;
        Cast::start(Some(url)).await
    });
    live(&runtime, cast);
}
