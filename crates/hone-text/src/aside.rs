//! Strangers' programs run aside: on a thread of their own, with a deep stack and until a time is up.
//!
//! A template's values can be nested as deep as its fuel allows and its expressions as deep as its source is long; showing,
//! comparing and dropping them calls itself once for each level, and a stack that ends takes the whole process with it. A
//! list that is added to itself sixty times takes no memory, few steps, and for ever to count. Fuel sees neither.

use std::cell::RefCell;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use crate::guard::guarded;

/// Room for each step of a template to nest a value, about 1 kB with what dropping or showing it takes. Only what is used
/// takes memory.
const STACK_BYTES: usize = 256 << 20;

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_millis(100);

/// Why a program gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// Its time was up.
    OutOfTime,
    /// It panicked.
    GaveUp(String),
}

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The thread beside this one; starting one for each rendering would take longer than most renderings.
    static BESIDE: RefCell<Option<Sender<Job>>> = const { RefCell::new(None) };
}

/// What `program` gives. One whose time is up is left to its thread, which ends with it.
pub(crate) fn aside<T: Send + 'static>(
    time: Duration,
    program: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Aside> {
    // Not in the job itself: a thread that ends just when a job is sent drops the job, and another one has to do it.
    let program = Arc::new(Mutex::new(Some(program)));
    let taken = || program.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (give, given) = channel();
        let program = Arc::clone(&program);
        send(Box::new(move || {
            let program = program
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(program) = program {
                // Nobody waits any more when the time was up.
                let _ = give.send(guarded(program));
            }
        }));
        let why = match given.recv_timeout(time) {
            Ok(outcome) => return outcome.map_err(Aside::GaveUp),
            Err(why) => why,
        };
        BESIDE.take();
        match why {
            RecvTimeoutError::Timeout => return Err(Aside::OutOfTime),
            RecvTimeoutError::Disconnected if taken().is_some() => {}
            RecvTimeoutError::Disconnected => {
                return Err(Aside::GaveUp("its thread ended".into()));
            }
        }
    }
}

/// Gives a job to the thread beside this one. Where the system allows no such thread, this one does it.
fn send(job: Job) {
    BESIDE.with_borrow_mut(|beside| {
        let job = match beside {
            None => job,
            Some(jobs) => match jobs.send(job) {
                Ok(()) => return,
                Err(unsent) => unsent.0,
            },
        };
        *beside = start();
        match beside {
            None => job(),
            // It has just begun to wait.
            Some(jobs) => jobs.send(job).unwrap_or_else(|unsent| unsent.0()),
        }
    });
}

fn start() -> Option<Sender<Job>> {
    if *IS_LIMITED {
        return None;
    }
    let (give, jobs) = channel::<Job>();
    let work = move || {
        while let Ok(job) = jobs.recv_timeout(IDLE) {
            job();
        }
    };
    let thread = std::thread::Builder::new().name("template".into());
    let started = thread.stack_size(STACK_BYTES).spawn(work);
    started.is_ok().then_some(give)
}

/// Whether the system limits this process's memory (`ulimit -d`, `-v`): a stack counts against that whole, used or not,
/// and what it takes the rest of the work would lack.
static IS_LIMITED: LazyLock<bool> = LazyLock::new(|| {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let mut memory = limits
        .lines()
        .filter(|line| line.starts_with("Max data size") || line.starts_with("Max address space"));
    // After the name's three words, the limit in force.
    memory.any(|line| line.split_whitespace().nth(3) != Some("unlimited"))
});

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_next_program_runs_whatever_became_of_the_one_before() {
        assert_eq!(aside(LONG, || 1), Ok(1));
        let sleeper = || std::thread::sleep(LONG);
        assert_eq!(
            aside(Duration::from_millis(10), sleeper),
            Err(Aside::OutOfTime)
        );
        assert_eq!(aside(LONG, || 2), Ok(2));
        let panic = aside(LONG, || -> u8 { panic!("no {}", "more") });
        assert_eq!(panic, Err(Aside::GaveUp("no more".into())));
        assert_eq!(aside(LONG, || 3), Ok(3));
    }

    #[test]
    fn a_thread_that_ends_for_want_of_work_loses_none() {
        for _ in 0..3 {
            // About when it ends.
            std::thread::sleep(IDLE);
            assert_eq!(aside(LONG, || 1), Ok(1));
        }
    }
}
