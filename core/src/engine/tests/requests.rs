//! Single requests: what is refused, how they end, and that they go on where they were left.
use super::*;

#[test]
fn a_resumed_request_goes_on_as_if_it_had_never_stopped() {
    let prompt = [5, 9, 33, 7];
    let params = SamplingParams {
        temperature: 1.1,
        seed: 42,
        repetition_penalty: 1.2,
        presence_penalty: 0.4,
        ..SamplingParams::GREEDY
    };
    let request = Request { params, ..Request::greedy(&prompt, 20) };
    with_engine(limits(), |engine| {
        let whole = tokens(engine, &request);
        assert_eq!(whole.len(), 20);
        for at in 0..20 {
            let resumed = Request { generated: &whole[..at], ..request };
            assert_eq!(tokens(engine, &resumed), whole[at..], "resumed at {at}");
        }
    });
}

#[test]
fn what_is_resumed_at_its_end_ends() {
    let prompt = [5, 9, 33, 7];
    let generated: Vec<u32> = (0..92).collect();
    with_engine(limits(), |engine| {
        let resumed = |at| Request { generated: &generated[..at], ..Request::greedy(&prompt, 200) };
        assert_eq!(end(engine, &resumed(91)), (1, FinishReason::Length));
        assert_eq!(end(engine, &resumed(92)), (0, FinishReason::Length));
        let few = Request { max_tokens: 10, ..resumed(10) };
        assert_eq!(end(engine, &few), (0, FinishReason::Length));
        let stopped = Request { stop_ids: &[9], ..resumed(10) };
        assert_eq!(end(engine, &stopped), (0, FinishReason::StopId(9)));
        let not_yet = Request { min_tokens: 10, max_tokens: 12, ..stopped };
        assert_eq!(end(engine, &not_yet).0, 2);
        let goes_on = Request { stop_ids: &[8], max_tokens: 11, ..resumed(10) };
        assert_eq!(end(engine, &goes_on).0, 1);
    });
}

#[test]
fn what_is_cancelled_leaves_no_events_and_no_choice_of_its_own() {
    let prompt = token_ids(20);
    with_engine(limits(), |engine| {
        for _ in 0..100 {
            let id = engine.submit(&Request::greedy(&prompt, 3)).unwrap();
            assert!(engine.plan(Budget::UNLIMITED).is_some());
            assert!(engine.cancel(id));
        }
        let id = engine.submit(&Request { choices: 2, ..Request::greedy(&prompt, 3) }).unwrap();
        let mut ends = vec![];
        let mut steps = 0;
        while let Some(plan) = engine.plan(Budget::UNLIMITED) {
            for event in engine.execute(plan, &mut ()).unwrap() {
                assert_eq!(event.request, id);
                assert!(steps < 2 || event.choice == 1, "an event after the end");
                if matches!(event.kind, EventKind::Finished(_)) {
                    ends.push(event.choice);
                }
            }
            steps += 1;
            if steps == 2 {
                assert!(engine.cancel_choice(id, 0) && !engine.cancel_choice(id, 0));
            }
        }
        assert_eq!(ends, [1]);
    });
}

#[test]
fn what_cannot_be_served_is_refused_with_its_numbers() {
    let prompt = [1, 2, 3];
    let base = Request::greedy(&prompt, 5);
    let long = vec![1; 97];
    let half = vec![1; 60];
    with_engine(EngineLimits { kv_tokens: 48, queue: 1, ..limits() }, |engine| {
        let refused = |engine: &mut Rig<'_>, request: Request<'_>| engine.submit(&request).unwrap_err();
        assert_eq!(refused(engine, Request { prompt: &[], ..base }), Refusal::EmptyPrompt);
        assert_eq!(refused(engine, Request { max_tokens: 0, ..base }), Refusal::NothingAsked);
        assert_eq!(refused(engine, Request { choices: 0, ..base }), Refusal::NothingAsked);
        assert_eq!(
            refused(engine, Request { prompt: &long, ..base }),
            Refusal::ContextExceeded { prompt_tokens: 97, model_len: 96 }
        );
        assert_eq!(
            refused(engine, Request { prompt: &half, ..base }),
            Refusal::KvCapacityExceeded { needed_tokens: 65, kv_tokens: 48 }
        );
        assert_eq!(
            refused(engine, Request { prompt: &[1, 150], ..base }),
            Refusal::TokenOutOfRange { field: "prompt", token: 150, vocab_size: 150 }
        );
        assert_eq!(
            refused(engine, Request { stop_ids: &[1; 4], ..base }),
            Refusal::TooMany { field: "stop_ids", given: 4, max: 3 }
        );
        let params = SamplingParams { top_p: 2.0, ..base.params };
        assert!(matches!(refused(engine, Request { params, ..base }), Refusal::Parameter(_)));
        assert_eq!(
            refused(engine, Request { choices: 5, ..base }),
            Refusal::TooMany { field: "choices", given: 5, max: 4 }
        );
        for _ in 0..3 {
            engine.submit(&base).unwrap();
        }
        assert_eq!(refused(engine, Request { choices: 2, ..base }), Refusal::QueueFull { queue: 1 });
        engine.submit(&base).unwrap();
        assert_eq!(refused(engine, base), Refusal::QueueFull { queue: 1 });
    });
}

#[test]
fn stop_ids_end_a_request_and_not_before_min_tokens() {
    let prompt = [5, 9, 33, 7];
    with_engine(limits(), |engine| {
        let whole = tokens(engine, &Request::greedy(&prompt, 12));
        let stop = [whole[2]];
        let stopped = tokens(engine, &Request { stop_ids: &stop, ..Request::greedy(&prompt, 12) });
        let first = whole.iter().position(|token| *token == stop[0]).unwrap();
        assert_eq!(stopped, whole[..=first]);
        let request = Request { stop_ids: &stop, min_tokens: 6, ..Request::greedy(&prompt, 12) };
        let later = tokens(engine, &request);
        assert!(later.len() > 6 && !later[..6].contains(&stop[0]));
    });
}
