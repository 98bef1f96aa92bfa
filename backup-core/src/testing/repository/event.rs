/// What happened to a [`MemoryRepository`](super::MemoryRepository), in order. Names are `container/object`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole object was put.
    Put {
        /// Its container and name.
        name: String,
        /// Its length in bytes.
        size: u64,
    },
    /// An object that came in parts was completed.
    Completed {
        /// Its container and name.
        name: String,
        /// Its length in bytes.
        size: u64,
    },
    /// An upload was aborted.
    Aborted {
        /// Container and name of what it would have become.
        name: String,
    },
    /// An object was copied.
    Copied {
        /// Container and name of the copy.
        name: String,
    },
    /// An object that was there was deleted.
    Deleted {
        /// Its container and name.
        name: String,
    },
    /// A barrier on a container.
    Barrier {
        /// The container's name.
        container: String,
    },
}
