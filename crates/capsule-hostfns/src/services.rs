//! What a runner attaches to a function so that its host functions work: a cache, a Redis server, limits, a handler.

use capsule_hdk::FunctionConfig;

/// What the host functions of one function need beside its capabilities. The defaults suit a runner with one module.
#[derive(Clone, Default)]
pub struct Services {
    /// The in-memory cache. `None`, the default, makes an empty one with the default limit. Functions that share a cache
    /// are given the same one.
    #[cfg(feature = "cache")]
    pub cache: Option<std::sync::Arc<crate::cache::Cache>>,
    /// The limits of outbound HTTP.
    #[cfg(feature = "http")]
    pub http: crate::http::HttpLimits,
    /// A Redis server of the operator's: the function's address policy does not apply to it. `None`, the default, takes the
    /// `REDIS_*` variables of the function's own environment, and then the policy does apply.
    #[cfg(feature = "redis")]
    pub redis: Option<std::sync::Arc<crate::redis::Redis>>,
    /// Stands in front of every key that the function gives to Redis, and is never shown to it. Only for a server that the
    /// function's environment names; one in [`Services::redis`] has its own. Empty by default.
    #[cfg(feature = "redis")]
    pub redis_prefix: String,
    /// What answers `hostTalk`.
    #[cfg(feature = "print")]
    pub talk: crate::print::Talk,
}

impl Services {
    /// Attaches everything to `config`. Its capabilities must be filled in already: they say where Redis is.
    pub fn attach(self, config: &mut FunctionConfig) {
        let extensions = &mut config.extensions;
        #[cfg(feature = "cache")]
        extensions.insert(self.cache.unwrap_or_default());
        #[cfg(feature = "http")]
        extensions.insert(std::sync::Arc::new(crate::http::Outbound::new(self.http)));
        #[cfg(feature = "redis")]
        extensions.insert(self.redis.unwrap_or_else(|| {
            use crate::redis::{Redis, RedisSettings};
            let settings = RedisSettings::from_lookup(|name| config.capabilities.variable(name).map(str::to_owned));
            std::sync::Arc::new(Redis::for_function(settings, self.redis_prefix, &config.capabilities.network))
        }));
        #[cfg(feature = "print")]
        extensions.insert(std::sync::Arc::new(self.talk));
        #[cfg(not(any(feature = "cache", feature = "http", feature = "redis", feature = "print")))]
        let _ = extensions;
    }
}
