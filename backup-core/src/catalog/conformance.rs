//! One test body that every catalogue must pass.
