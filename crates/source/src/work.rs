//! What has to run for umbra to be of use. Nobody starts such work by himself: it is handed to whoever runs the process,
//! who starts each piece and notices when one ends.

use std::fmt;

use futures::future::{BoxFuture, FutureExt};

/// A piece of work that goes on as long as the process lives.
#[must_use = "nothing happens until it is started"]
pub struct Work {
    /// What it is called where its end is reported; a thread's name too.
    pub name: String,
    /// What is done.
    pub body: Body,
}

/// How a piece of work runs.
pub enum Body {
    /// As a task.
    Task(BoxFuture<'static, ()>),
    /// On a thread of its own, since it blocks.
    Thread(Box<dyn FnOnce() + Send>),
}

impl Work {
    /// A task.
    pub fn task(name: impl Into<String>, future: impl Future<Output = ()> + Send + 'static) -> Self {
        Work { name: name.into(), body: Body::Task(future.boxed()) }
    }

    /// A thread.
    pub fn thread(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Self {
        Work { name: name.into(), body: Body::Thread(Box::new(run)) }
    }

    /// Starts it with nobody to notice its end: good enough for a test, which would hang.
    pub fn start_alone(self) {
        match self.body {
            Body::Task(future) => drop(tokio::spawn(future)),
            Body::Thread(run) => drop(std::thread::spawn(run)),
        }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Work").field(&self.name).finish()
    }
}
