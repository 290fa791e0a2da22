//! Seeds of the simulator over the owner's shell, real workers, and faults of broker, database and processes.

use rejoin_tests::simulate::shell::simulate_shell;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn the_shell_loses_and_repeats_nothing_whatever_fails() {
    let first = number("REJOIN_SIMULATE_FIRST", 0);
    let seeds = number("REJOIN_SIMULATE_SHELL_SEEDS", 100);
    let failures_max = number("REJOIN_SIMULATE_FAILURES", 1);
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        failures.extend(simulate_shell(seed).err());
        if failures.len() as u64 >= failures_max {
            break;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n================\n\n"));
}
