//! The dataflow engine: stages, bounded channels, ordered workers, shutdown and meters.
//!
//! A [`Flow`] is a chain of stages joined by bounded channels. A stage is declared once (its name, how many workers,
//! what it turns into what) and gets its threads, its channel, back-pressure, order, shutdown and meters from here:
//!
//! | kind | declared with | threads | in → out |
//! |---|---|---|---|
//! | source | [`Flow::source`] | 1, owns its loop | nothing → many |
//! | one-to-one | [`Flow::map`] | n, order kept | one → one |
//! | many-to-one | [`Flow::group`] | 1 | many → one ([`Group`]) |
//! | owning | [`Flow::transform`] | 1, owns its loop | what it likes |
//!
//! Rules that hold for every chain, whatever the numbers of workers and capacities:
//!
//! * **Order.** The consumer receives what one thread running the stages one after the other would have made.
//! * **Back-pressure.** Nothing grows: a channel holds at most its capacity, and between the hand-out of an item to a
//!   worker and its in-order emission a stage holds at most `workers + capacity` items, even when one item is slow.
//! * **One end.** The first error, the first panic or a [`StopHandle::stop`] ends every stage, whatever it is blocked
//!   in; [`Running::join`] returns that first error. The end of the source flows through: every stage empties.
//! * **True meters.** At any moment a worker is busy, waits to send or waits to receive; [`Meters::snapshot`] says how
//!   long it was in which state up to now, a wait that is still going on included.
//!
//! ```
//! use mugs_flow::{Flow, Workers};
//!
//! let mut flow = Flow::new();
//! let numbers = flow.source("numbers", 4, |out| {
//!     for number in 0..10u64 {
//!         out.send(number)?;
//!     }
//!     Ok(())
//! });
//! let squares = flow.map("square", numbers, Workers { count: 3, capacity: 2 }, |_worker| {
//!     Ok(|number: u64| Ok(number * number))
//! });
//! let mut running = flow.start("sum", squares)?;
//! let mut sum = 0;
//! while let Some(square) = running.recv()? {
//!     sum += square;
//! }
//! running.join()?;
//! assert_eq!(sum, 285);
//! # Ok::<(), mugs_flow::FlowError>(())
//! ```

mod error;
mod flow;
mod link;
mod meter;
mod panics;
mod running;
mod stop;
mod worker;

pub use error::{BoxError, Closed, FlowError};
pub use flow::{Flow, Group, Workers};
pub use link::{Emitter, Inlet, Link};
pub use meter::{ChannelSnapshot, Meters, StageSnapshot};
pub use running::Running;
pub use stop::StopHandle;
