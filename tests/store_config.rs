//! What a configuration says about what survives the node.

use fanwire::node::config::{Loaded, Sources, StoreSettings, load};

fn load_all(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let sources = Sources {
        file: Some(("f.toml", text.as_bytes())),
        environment: environment.collect(),
        ..Sources::default()
    };
    load(&sources).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

fn read(text: &str) -> Result<Loaded, Vec<String>> {
    load_all(text, &[])
}

#[test]
fn the_store_is_in_memory_unless_a_directory_is_named() {
    let config = read("").unwrap().config;
    assert_eq!(config.store, StoreSettings::default());
    assert_eq!(config.store.data, None);
    let text = "[store]\ndata = \"a\"\ndisk_bytes = \"2TiB\"\nchannels = 5";
    let loaded = load_all(text, &[("FANWIRE_STORE_DATA", "b")]).unwrap();
    assert_eq!(loaded.config.store.data.as_deref(), Some("b"));
    let limits = loaded.config.store.limits(0);
    assert_eq!((limits.disk_bytes, limits.logs), (2 << 40, 5));
    assert_eq!(load_all(text, &[("FANWIRE_STORE_DATA", "")]).unwrap().config.store.data, None);
    let tight = StoreSettings { disk_bytes: 4 << 20, queue_bytes: 4096, ..StoreSettings::default() };
    let limits = tight.limits(100 << 20);
    assert!(limits.record_bytes > 100 << 20, "the largest message fits");
    assert!(limits.queue_bytes >= limits.record_bytes, "and can wait");
    assert_eq!(limits.wal_bytes, 256 << 10);
    let durable = "[[location]]\nprefix = \"/x/\"\ndurable = true";
    let warned = read(durable).unwrap();
    assert!(warned.config.relay.locations[0].durable);
    assert!(
        warned.warnings[0].to_string().starts_with("f.toml:3:11: survives nothing"),
        "{:?}",
        warned.warnings
    );
    assert!(load_all(durable, &[("FANWIRE_STORE_DATA", "b")]).unwrap().warnings.is_empty());
    let nothing = read(&format!("{durable}\nbuffer_messages = 0")).unwrap_err();
    assert_eq!(nothing, ["f.toml:3:11: what is not stored cannot be durable: it needs a buffer"]);
    let least = read("[store]\ndisk_bytes = \"1KiB\"").unwrap_err();
    assert_eq!(least, ["f.toml:2:14: `store.disk_bytes` needs a size from 1MiB to 8TiB"]);
}
