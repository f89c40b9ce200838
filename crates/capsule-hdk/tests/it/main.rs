//! The host SDK through its public interface, with modules that try to break it.

mod calls;
mod contracts;
mod hostile;
mod imports;
mod load;
mod slices;
mod support;
