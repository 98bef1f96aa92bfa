//! POSIX directory repository, laid out as Cinder's posix driver lays it out.
