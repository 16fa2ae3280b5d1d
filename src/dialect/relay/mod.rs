//! The relay: publisher and subscriber locations over plain HTTP, as nchan and the HTTP push relay family have them.

pub mod settings;
