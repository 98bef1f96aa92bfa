//! The storage drivers, one feature each, behind one open().
