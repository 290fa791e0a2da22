//! One definition of every kind of node, in a thousand schedules of crashes.

use rejoin_shared::run::RunStatus;
use rejoin_tests::generate::{Case, Profile};
use rejoin_tests::reference::interpret;
use rejoin_tests::simulate::engine_driver::Faults;
use rejoin_tests::simulate::{Verdict, run_info, simulate_case};

/// Flows nine deep; every kind of node stands in it.
const EVERY_KIND: &str = "workflow: generated
defaults: { retry: { max_attempts: 3, initial: 1s } }
steps:
  - { set: begin, values: { n: 0, l: [] } }
  - parallel: wide
    reduce: { n: sum, l: append }
    branches:
      left:
        - foreach: each
          items: '2'
          concurrency: 2
          reduce: { n: sum, l: append }
          steps:
            - graph: net
              reduce: { n: sum, l: append }
              nodes:
                first: { steps: [ { step: a } ] }
                second:
                  needs: [first]
                  steps:
                    - branch: route
                      on: index
                      cases:
                        '0':
                          - try: careful
                            steps:
                              - repeat: rounds
                                max: 2
                                steps:
                                  - group: inner
                                    steps:
                                      - { step: work, with: { v: '= get(ctx, \"n\", 0)', t: '= attempt' } }
                                      - parallel: deepest
                                        collect_as: got
                                        merge: discard
                                        branches:
                                          here: [ { step: deep } ]
                                          outside: [ { wait: word, event: word } ]
                              - { fail: oops, error: { type: app.oops } }
                            catch: [ { errors: ['app.*'], steps: [ { step: mend } ] } ]
                            finally: [ { emit: told, event: gone, payload: { n: '= get(ctx, \"n\", 0)' } } ]
                      default: [ { sleep: pause, for: 2s }, { step: other } ]
                third: { steps: [ { step: b } ] }
      right:
        - { wait: asked, input: { type: approval, prompt: 'approval, or not?' }, timeout: 9d, into: asked }
        - { call: child, workflow: child0, with: { n: 1, l: [0] }, into: child }
        - { wait: never, event: never.comes, timeout: 2s, on_timeout: { value: { late: true } } }
  - { decision: jump, rules: [ { when: 'true', goto: last } ] }
  - { step: passed_over }
  - { step: last }
  - { finish: end, output: { n: '= ctx.n', l: '= ctx.l', child: '= get(ctx, \"child\", null)' } }
";

const CHILD: &str = r#"{"workflow":"child0","steps":[
    {"foreach":"each","items":"3","concurrency":"unbounded","reduce":{"n":"sum"},"steps":[{"step":"c"}]},
    {"step":"d"}]}"#;

#[test]
fn a_nested_definition_of_every_kind_of_node_ends_the_same_in_a_thousand_crash_schedules() {
    let children = vec![("child0".to_owned(), CHILD.to_owned())];
    // Of the world of this number nothing fails for good, so that all schedules come to the same end.
    let case = Case::of(7, EVERY_KIND.to_owned(), children, Profile::Resumable);
    let told = interpret(&case.def, &case.input, &case.world, &run_info());
    assert_eq!(told.end.status, RunStatus::Completed, "{:?}", told.end.error);
    assert!(
        told.log.doubt.is_none() && !told.log.may_cancel,
        "it depends on nothing"
    );
    let deepest = told.log.executed.keys().map(|(path, _)| path.matches('/').count());
    assert!(deepest.max() >= Some(8), "it goes eight levels down");
    let failures = (0..1_000).find_map(|schedule| {
        let faults = Faults {
            crashes: 8,
            schedule: Some(schedule),
            ..Faults::all()
        };
        let ended = simulate_case(&case, Profile::Any, &faults);
        let failure = ended
            .map_err(|failure| failure.to_string())
            .and_then(|verdict| match verdict {
                Verdict::Agrees => Ok(()),
                Verdict::InvariantsOnly | Verdict::TooLarge => Err("nothing was compared".to_owned()),
            });
        failure.err().map(|why| format!("schedule {schedule}: {why}"))
    });
    assert_eq!(failures, None);
}
