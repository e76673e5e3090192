//! Times of all scenarios: `cargo bench -p imago-benches`, with a part of a name for some of them.

use divan::{Bencher, counter::ItemsCount};
use imago_benches::{DIRECTORY, FAN_OUT, LINK, PACKET, Run, SELECTOR, Scenario, WEBSOCKET};

fn main() {
    divan::main();
}

/// Each run gets an input of its own; making and dropping it is not measured.
fn bench(bencher: Bencher<'_, '_>, scenario: &Scenario) {
    bencher
        .with_inputs(|| scenario.prepare())
        .input_counter(|run| ItemsCount::new(run.operations()))
        .bench_local_refs(Run::work);
}

#[divan::bench(args = PACKET)]
fn packet(bencher: Bencher<'_, '_>, scenario: &Scenario) {
    bench(bencher, scenario);
}

#[divan::bench(args = WEBSOCKET)]
fn websocket(bencher: Bencher<'_, '_>, scenario: &Scenario) {
    bench(bencher, scenario);
}

#[divan::bench(args = LINK)]
fn link(bencher: Bencher<'_, '_>, scenario: &Scenario) {
    bench(bencher, scenario);
}

#[divan::bench(args = SELECTOR)]
fn selector(bencher: Bencher<'_, '_>, scenario: &Scenario) {
    bench(bencher, scenario);
}

/// Few samples: each needs a directory of its own.
#[divan::bench(args = DIRECTORY, sample_count = 10, sample_size = 1)]
fn directory(bencher: Bencher<'_, '_>, scenario: &Scenario) {
    bench(bencher, scenario);
}

#[divan::bench(args = FAN_OUT, sample_count = 20, sample_size = 1)]
fn fan_out(bencher: Bencher<'_, '_>, scenario: &Scenario) {
    bench(bencher, scenario);
}
