//! Runs one scenario for `scripts/instructions`, which counts what [`measured`] does.

use std::{env, hint::black_box, process::ExitCode};

use imago_benches::{Run, all};

fn main() -> ExitCode {
    let Some(name) = env::args().nth(1) else {
        for scenario in all() {
            println!("{scenario}");
        }
        return ExitCode::SUCCESS;
    };
    let Some(scenario) = all().find(|scenario| scenario.name == name) else {
        eprintln!("expected the name of a scenario, got {name:?}");
        return ExitCode::FAILURE;
    };
    // What happens once in a process, such as seeding a random generator, is over after this.
    scenario.prepare().work();
    let mut run = scenario.prepare();
    measured(&mut run);
    println!("{}", run.operations());
    ExitCode::SUCCESS
}

/// Found by its name: never inlined, and never left before its end.
#[inline(never)]
fn measured(run: &mut Run) {
    run.work();
    black_box(run);
}
