//! A runner that loses its device: who runs is told, who waits is served by another, and nothing
//! that was computed before is used again.
use super::*;
use crate::cache::BlockId;
use crate::cache::planes::BlockCopy;
use crate::model::{BlockTables, DeviceLost, HeadOutput, HeadWants, Row, Runner};

/// The CPU's runner, which is lost after so many heads.
struct Losing<'r, 'a> {
    cpu: &'r mut CpuRunner<'a>,
    heads: usize,
}

impl Runner for Losing<'_, '_> {
    fn copy_blocks(&mut self, copies: &[BlockCopy]) {
        self.cpu.copy_blocks(copies);
    }

    fn layers(&mut self, kind: StepKind, rows: &[Row], tables: BlockTables<'_>, fresh: &[BlockId]) {
        self.cpu.layers(kind, rows, tables, fresh);
    }

    fn head(&mut self, kind: StepKind, rows: &[u32], wants: HeadWants) -> Result<HeadOutput<'_>, DeviceLost> {
        self.heads = self.heads.checked_sub(1).ok_or(DeviceLost)?;
        self.cpu.head(kind, rows, wants)
    }
}

#[test]
fn a_lost_device_ends_who_runs_and_spares_who_waits() {
    // The waiting prompts equal prompts that the lost device was computing. Their answers would be
    // wrong if a block of the lost device could still be found.
    let prompts: Vec<Vec<u32>> = [0, 1, 2, 0, 1].map(|i| (i..i + 20).collect()).to_vec();
    let alone: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| with_engine(limits(), |engine| tokens(engine, &Request::greedy(prompt, 6))))
        .collect();
    // Three run at once, and the head takes two of them at a time: the loss may come between.
    for heads in 0..9 {
        with_engine(EngineLimits { kv_tokens: 288, ..limits() }, |rig| {
            let ids: Vec<RequestId> =
                prompts.iter().map(|p| rig.submit(&Request::greedy(p, 6)).unwrap()).collect();
            let mut answers = vec![(vec![], None); 5];
            let (mut left, mut is_lost) = (heads, false);
            while let Some(plan) = rig.engine.plan(Budget::UNLIMITED) {
                let running = rig.engine.status().running;
                let mut losing = Losing { cpu: &mut rig.cpu, heads: left };
                let events = rig.engine.execute(plan, Masks::NONE, &mut losing, &Serial, &mut ());
                left = losing.heads;
                let (mut lost, mut ended) = (0, 0);
                for event in events.unwrap() {
                    let answer = &mut answers[ids.iter().position(|id| *id == event.request).unwrap()];
                    assert_eq!(answer.1, None, "an event after the end");
                    match event.kind {
                        EventKind::Token { token, .. } => answer.0.push(token),
                        EventKind::Finished(reason) => {
                            answer.1 = Some(reason);
                            ended += 1;
                            lost += usize::from(reason == FinishReason::DeviceLost);
                        }
                        _ => {}
                    }
                }
                if lost > 0 {
                    assert!(!is_lost, "a device is lost once");
                    let status = rig.engine.status();
                    assert_eq!((ended, status.running, status.free_blocks), (running, 0, status.blocks));
                    // Another runner has other memory, of which nothing is known.
                    rig.cpu.kv_bytes_mut().fill(0xff);
                    (left, is_lost) = (usize::MAX, true);
                }
                assert_eq!(rig.engine.check_invariants(), Ok(()));
            }
            assert!(is_lost);
            for ((tokens, end), alone) in answers.iter().zip(&alone) {
                match end {
                    Some(FinishReason::Length) => assert_eq!(tokens, alone),
                    Some(FinishReason::DeviceLost) => {
                        assert!(tokens.len() < 6);
                        assert_eq!(tokens[..], alone[..tokens.len()]);
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
}
