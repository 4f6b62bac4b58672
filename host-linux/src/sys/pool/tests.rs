//! Each task once, whatever the workers do.
use super::*;
use std::sync::atomic::AtomicUsize;
use verbatim_core::pool::Step;

fn assert_each_runs_once(tasks: usize, run: impl FnOnce(&Job<'_>)) {
    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    run(&|task, _| {
        counts[task].fetch_add(1, Ordering::Relaxed);
    });
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{tasks} tasks");
}

#[test]
fn each_task_runs_once_and_no_worker_is_in_two_places() {
    for workers in [1, 2, 3, 5, 9] {
        let pool = FutexPool::new(workers).unwrap();
        assert_eq!(pool.workers(), workers);
        let busy: Vec<AtomicBool> = (0..workers).map(|_| AtomicBool::new(false)).collect();
        for run in 0..3000 {
            let tasks = run % 23;
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(Phase::Down, tasks, &|task, worker| {
                assert!(!busy[worker].swap(true, Ordering::SeqCst));
                counts[task].fetch_add(1, Ordering::Relaxed);
                busy[worker].store(false, Ordering::SeqCst);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{workers} {tasks}");
        }
    }
}

#[test]
fn in_steps_too_each_task_runs_once_whatever_the_pool_thinks_of_its_size() {
    let pool = FutexPool::new(3).unwrap();
    for step in 0..300_usize {
        let step_guard = Step::begin(&pool, 1 << (step % 40));
        let _inner = step.is_multiple_of(3).then(|| Step::begin(&pool, 5));
        for run in 0..20 {
            let tasks = (step + run) % 13;
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            let job = |task: usize, _: usize| {
                counts[task].fetch_add(1, Ordering::Relaxed);
            };
            match run % 4 {
                0 => pool.run(Phase::Down, tasks, &job),
                size => pool.run_sized(Phase::Down, tasks, 1 << (10 * size), &job),
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{step} {run} {tasks}");
        }
        drop(step_guard);
    }
    assert!(!pool.caller().has_open_step(), "every step ended");
}

#[test]
fn a_worker_that_never_comes_is_not_waited_for() {
    // Nobody is worker 1 or 2.
    let protocol = protocol::Protocol::new(3, 0);
    for run in 1..=3 {
        let mut tasks = Vec::new();
        // SAFETY: this thread alone calls, and joins below.
        unsafe { protocol.publish(run, 10) };
        let own = protocol.work(0, |job, task| tasks.push((job, task)));
        protocol.join(own);
        tasks.sort_unstable();
        assert_eq!(tasks, (0..10).map(|task| (run, task)).collect::<Vec<_>>());
    }
}

#[test]
fn more_workers_than_cpus_and_than_tasks() {
    let pool = FutexPool::new(65).unwrap();
    for tasks in (0..100).chain([10_000]) {
        assert_each_runs_once(tasks, |job| pool.run(Phase::Down, tasks, job));
        assert_each_runs_once(tasks, |job| pool.run_sized(Phase::Down, tasks, 1 << 30, job));
    }
}

#[test]
fn runs_of_no_task_and_steps_of_any_size() {
    let never = |_: usize, _: usize| panic!("there is no task");
    for workers in [0, 1, 2, 5] {
        let pool = FutexPool::new(workers).unwrap();
        for size in [0, 1, usize::MAX] {
            let _step = Step::begin(&pool, size);
            pool.run(Phase::Load, 0, &never);
            pool.run_sized(Phase::Load, 0, size, &never);
            assert_each_runs_once(7, |job| pool.run_sized(Phase::Load, 7, size, job));
        }
        pool.run_sized(Phase::Load, 0, usize::MAX, &never);
    }
}

#[test]
fn published_runs_wrap_around() {
    let protocol = protocol::Protocol::new(2, 0);
    let seen = protocol.skip_runs((1 << 31) - 3);
    let ran = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = seen;
            while let Some(published) = protocol.await_run(seen) {
                assert_ne!(published, seen);
                seen = published;
                let count = protocol.work(1, |_, _| {
                    ran.fetch_add(1, Ordering::Relaxed);
                });
                protocol.report(count);
            }
        });
        for run in 0..1000 {
            // SAFETY: this thread alone calls, and joins below.
            unsafe { protocol.publish(run, 10) };
            protocol.wake(1);
            let own = protocol.work(0, |job, _| {
                assert_eq!(job, run);
                ran.fetch_add(1, Ordering::Relaxed);
            });
            protocol.join(own);
            assert_eq!(ran.swap(0, Ordering::Relaxed), 10);
        }
        protocol.stop();
    });
}

#[test]
fn a_pool_ends_while_its_workers_sleep() {
    for workers in [2, 5] {
        let pool = FutexPool::new(workers).unwrap();
        while pool.shared.protocol.sleeping() < workers - 1 {
            std::thread::yield_now();
        }
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        assert!(shared.upgrade().is_none(), "every worker has ended");
    }
}

#[test]
fn what_tasks_write_is_seen_by_the_caller_and_uneven_work_is_shared() {
    let pool = FutexPool::new(4).unwrap();
    let mut out = vec![0_usize; 1000];
    let shared = verbatim_core::tensor::Shared::new(&mut out);
    for round in 1..50 {
        pool.run(Phase::Down, 1000, &|task, _| {
            if task < 3 {
                std::thread::yield_now();
            }
            // SAFETY: a task has its element for itself.
            unsafe { shared.part(task, 1)[0] += round };
        });
    }
    assert!(out.iter().all(|x| *x == 49 * 50 / 2));
}

#[test]
fn a_panic_is_told_and_the_pool_lives_on() {
    let pool = FutexPool::new(3).unwrap();
    let ran = AtomicUsize::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        pool.run(Phase::Down, 20, &|task, _| {
            ran.fetch_add(1, Ordering::Relaxed);
            assert!(task != 7, "task seven is broken");
        });
    }));
    let panic = result.unwrap_err();
    assert!(panic.downcast_ref::<&str>().is_some_and(|message| message.contains("seven")));
    assert_eq!(ran.load(Ordering::Relaxed), 20, "the other tasks ran");
    pool.run(Phase::Down, 20, &|_, _| {});
}

#[test]
fn a_panic_while_a_helper_holds_a_task_ends_the_run_and_the_step() {
    for _ in 0..10 {
        // A new pool takes the machine for quiet, so it hands the run out.
        let pool = FutexPool::new(3).unwrap();
        let (helper_holds, caller_panics) = (AtomicBool::new(false), AtomicBool::new(false));
        let ran = AtomicUsize::new(0);
        let await_flag = |flag: &AtomicBool| {
            while !flag.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _step = Step::begin(&pool, 1);
            pool.run(Phase::Down, 20, &|_, worker| {
                ran.fetch_add(1, Ordering::Relaxed);
                if worker == 0 {
                    await_flag(&helper_holds);
                    caller_panics.store(true, Ordering::Relaxed);
                    panic!("the caller's task is broken");
                }
                helper_holds.store(true, Ordering::Relaxed);
                await_flag(&caller_panics);
            });
        }));
        assert!(result.is_err());
        assert_eq!(ran.load(Ordering::Relaxed), 20, "the other tasks ran");
        assert!(!pool.caller().is_in_step(), "the step ended");
    }
}

/// A payload that cannot even be dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a payload was dropped");
    }
}

#[test]
fn payloads_that_panic_when_dropped_lose_no_task() {
    for workers in [1, 3] {
        let pool = FutexPool::new(workers).unwrap();
        let ran = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(Phase::Down, 20, &|_, _| {
                ran.fetch_add(1, Ordering::Relaxed);
                std::panic::panic_any(Bomb);
            });
        }));
        let panic = result.unwrap_err();
        assert!(panic.is::<Bomb>());
        std::mem::forget(panic);
        assert_eq!(ran.load(Ordering::Relaxed), 20);
        assert_each_runs_once(20, |job| pool.run(Phase::Down, 20, job));
    }
}

#[test]
fn steps_of_two_threads_on_one_pool() {
    let pool = FutexPool::new(3).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let pool = &pool;
            scope.spawn(move || {
                for step in 0..200_usize {
                    let _step = Step::begin(pool, 1 << (step % 30));
                    for run in 0..5 {
                        let elements = 1 << (4 * run + thread);
                        assert_each_runs_once(9, |job| pool.run_sized(Phase::Down, 9, elements, job));
                        assert_each_runs_once(9, |job| pool.run(Phase::Down, 9, job));
                    }
                }
            });
        }
    });
    assert!(!pool.caller().has_open_step(), "every step ended");
}

#[test]
fn a_step_belongs_to_the_thread_that_began_it() {
    let pool = FutexPool::new(2).unwrap();
    // The threads' steps overlap without end, but each step of the first one ends.
    let other = Step::begin(&pool, 4);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let step = Step::begin(&pool, 4);
            assert!(!pool.caller().is_in_step(), "the other thread's step is open");
            assert_each_runs_once(9, |job| pool.run_sized(Phase::Down, 9, 1 << 20, job));
            drop(step);
            assert!(pool.caller().has_open_step(), "ending a step leaves another thread's alone");
        });
    });
    assert!(pool.caller().is_in_step());
    std::thread::scope(|scope| {
        let (begun, is_begun) = std::sync::mpsc::channel();
        let (end, is_to_end) = std::sync::mpsc::channel();
        let late = &pool;
        scope.spawn(move || {
            let _step = Step::begin(late, 4);
            begun.send(()).unwrap();
            is_to_end.recv().unwrap();
        });
        is_begun.recv().unwrap();
        drop(other);
        assert!(!pool.caller().has_open_step(), "the step ends though another thread began one meanwhile");
        end.send(()).unwrap();
    });
    assert!(!pool.caller().has_open_step());
}

#[test]
fn a_job_can_use_no_pool() {
    let (pool, other) = (FutexPool::new(2).unwrap(), FutexPool::new(2).unwrap());
    let uses: [&(dyn Fn() + Sync); 4] = [
        &|| pool.run_sized(Phase::Down, 4, 4, &|_, _| {}),
        &|| other.run(Phase::Down, 4, &|_, _| {}),
        &|| drop(Step::begin(&pool, 4)),
        &|| pool.end_step(),
    ];
    for use_pool in uses {
        let nested = catch_unwind(AssertUnwindSafe(|| pool.run(Phase::Down, 4, &|_, _| use_pool())));
        let panic = nested.unwrap_err();
        assert!(panic.downcast_ref::<&str>().is_some_and(|message| message.contains("a job cannot")));
    }
    assert_each_runs_once(4, |job| pool.run(Phase::Down, 4, job));
}

#[test]
fn callers_take_turns_and_jobs_cannot_nest() {
    let pool = FutexPool::new(2).unwrap();
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.run(Phase::Down, 10, &|_, _| {
                        total.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 4 * 200 * 10);
    let nested = catch_unwind(AssertUnwindSafe(|| {
        pool.run(Phase::Down, 4, &|_, _| pool.run(Phase::Down, 4, &|_, _| {}));
    }));
    assert!(nested.is_err());
}

#[test]
fn an_idle_pool_costs_no_cpu() {
    let pool = FutexPool::new(4).unwrap();
    pool.run(Phase::Down, 100, &|_, _| {});
    let sleeping = || pool.shared.protocol.sleeping();
    // However slow the machine is, the three threads reach their futex and stay there.
    while sleeping() < 3 {
        std::thread::yield_now();
    }
    let states = || pool.threads.iter().filter(|thread| !thread.is_finished()).count();
    assert_eq!((states(), sleeping()), (3, 3));
    pool.run(Phase::Down, 100, &|_, _| {});
}

#[test]
fn float_control_is_as_programs_start() {
    assert!(float_control_is_default());
}

/// The caller is worker 0, so what a library did to its thread counts too.
#[cfg(target_arch = "x86_64")]
#[test]
fn flushed_subnormals_are_told() {
    let flushing = || {
        let pool = FutexPool::new(2).unwrap();
        let mxcsr: u32 = 0x1f80 | 1 << 15; // the default, and flush to zero
        // SAFETY: this thread ends with the test, and what it computes in between is no one's.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &mxcsr, options(nostack, readonly)) };
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(Phase::Down, 20, &|_, _| {})));
        result
            .unwrap_err()
            .downcast_ref::<&str>()
            .is_some_and(|message| message.contains("floating-point control"))
    };
    assert!(std::thread::spawn(flushing).join().unwrap());
}
