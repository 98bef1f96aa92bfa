use super::*;

fn load_with(file: &str, environment: &[(&str, &str)], options: &[&str]) -> Result<Settings> {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("ashlar.toml"), file).unwrap();
    let environment: Vec<_> = environment
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let options: Vec<_> = options.iter().map(|o| (*o).to_owned()).collect();
    load(
        home.path(),
        &Sources {
            file: None,
            environment: &environment,
            options: &options,
        },
    )
}

#[test]
fn without_a_configuration_everything_lies_in_the_home() {
    let home = Path::new("/h");
    let none = Sources {
        file: None,
        environment: &[],
        options: &[],
    };
    let settings = load(home, &none).unwrap();
    assert_eq!(settings.catalog.url, "sqlite:/h/catalogue.sqlite");
    assert_eq!(settings.backup.repository, "default");
    let repository = format!("{:?}", settings.repositories["default"]);
    assert!(repository.contains("/h/repository"), "{repository}");
    let volumes = format!("{:?}", settings.volumes);
    assert!(volumes.contains("/h/volumes"), "{volumes}");
}

#[test]
fn an_option_beats_a_variable_and_a_variable_beats_the_file() {
    let file = "[backup]\ncompression = \"bz2\"\nlevel = 3\nmemory = \"1GiB\"\n";
    let settings = load_with(
        file,
        &[
            ("ASHLAR_BACKUP_COMPRESSION", "none"),
            ("ASHLAR_BACKUP_LEVEL", "4"),
        ],
        &["backup.level=5"],
    )
    .unwrap();
    assert_eq!(settings.backup.compression, Some(Algorithm::None));
    assert_eq!(settings.backup.level, Some(5));
    assert_eq!(settings.backup.memory, Some(1 << 30));
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    for (file, environment, option, nearest) in [
        (
            "[backup]\ncompresion = \"zstd\"",
            None,
            None,
            "backup.compression",
        ),
        ("compression = \"zstd\"", None, None, "backup.compression"),
        (
            "[repository.x]\ntype = \"posix\"\npaht = \"/x\"",
            None,
            None,
            "repository.x.path",
        ),
        ("", None, Some("backup.chunksize=1MiB"), "backup.chunk_size"),
        ("", None, Some("compression=zstd"), "backup.compression"),
        ("", Some(("ASHLAR_BACKUP_LEVLE", "1")), None, "backup.level"),
    ] {
        let e = load_with(
            file,
            &environment.into_iter().collect::<Vec<_>>(),
            &option.into_iter().collect::<Vec<_>>(),
        )
        .unwrap_err();
        assert!(e.is(ErrorKind::InvalidInput));
        let hint = e.hint_text().unwrap_or_default();
        assert!(hint.contains(nearest), "{e}: {hint}");
    }
    // A section is a key too.
    assert!(load_with("[backups]\n", &[], &[]).is_err());
}

#[test]
fn a_secret_is_refused_on_the_command_line_with_the_reason() {
    let e = load_with("", &[], &["repository.s.secret_key=hunter2"]).unwrap_err();
    assert!(e.to_string().contains("can be read"), "{e}");
    assert!(!e.to_string().contains("hunter2"));
    assert!(
        e.hint_text()
            .unwrap()
            .contains("ASHLAR_REPOSITORY_S_SECRET_KEY")
    );
}

#[test]
fn a_variable_finds_a_repository_whose_name_has_other_letters() {
    let names = ["Off-Site".to_owned()];
    assert_eq!(
        keys::of_variable("ASHLAR_REPOSITORY_OFF_SITE_PATH", &names).unwrap(),
        Some("repository.Off-Site.path".into())
    );
    assert_eq!(
        keys::of_variable("ASHLAR_REPOSITORY_NEW_PATH", &names).unwrap(),
        Some("repository.new.path".into())
    );
    assert_eq!(keys::of_variable("ASHLAR_HOME", &names).unwrap(), None);
    assert_eq!(keys::of_variable("PATH", &names).unwrap(), None);
}

#[test]
fn a_wrong_value_is_told_with_its_place() {
    for (file, word) in [
        ("[backup]\nchunk_size = \"big\"", "chunk_size"),
        ("[backup]\nlevel = \"high\"", "level"),
        ("[backup]\ncompression = \"lzma\"", "zstd"),
        ("[repository.a]\ntype = \"tape\"", "posix"),
        ("[backup]\nrepository = \"away\"", "not configured"),
        ("[repository.a]\npath = \"/x\"", "type"),
        ("[backup\n", "line 1"),
    ] {
        let e = load_with(file, &[], &[]).unwrap_err();
        assert!(e.to_string().contains(word), "{e}");
    }
}

#[test]
fn a_path_of_the_file_is_relative_to_the_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("ashlar.toml"),
        "[repository.default]\ntype = \"posix\"\npath = \"elsewhere\"",
    )
    .unwrap();
    let none = Sources {
        file: None,
        environment: &[],
        options: &[],
    };
    let settings = load(home.path(), &none).unwrap();
    let repository = format!("{:?}", settings.repositories["default"]);
    let expected = home.path().join("elsewhere");
    assert!(
        repository.contains(&*expected.to_string_lossy()),
        "{repository}"
    );
}

#[test]
fn types_that_are_not_in_every_build_are_read() {
    let file = "[repository.s]\ntype = \"ceph\"\npool = \"x\"\nstripe_unit = \"64KiB\"\nstripe_count = 4\n";
    let variable = ("ASHLAR_REPOSITORY_S_USER", "k");
    let settings = load_with(file, &[variable], &[]).unwrap();
    assert_eq!(settings.repositories["s"].kind(), "ceph");
}

#[test]
fn an_s3_repository_is_read_with_its_settings_and_the_zone() {
    let file = "[backup]\nrepository = \"s\"\navailability_zone = \"az7\"\n\
                [repository.s]\ntype = \"s3\"\nendpoint_url = \"http://127.0.0.1:1\"\nbucket = \"b\"\n\
                virtual_host_style = true\npart_size = \"8MiB\"\nsecret_key_file = \"keys/s\"\n\
                [repository.t]\ntype = \"s3\"\navailability_zone = \"own\"\n";
    let settings = load_with(
        file,
        &[
            ("ASHLAR_REPOSITORY_S_SECRET_KEY", "hush"),
            ("ASHLAR_REPOSITORY_S_ACCESS_KEY", "AK"),
        ],
        &["repository.s.create_containers=no"],
    )
    .unwrap();
    let RepositoryConfig::S3(s) = &settings.repositories["s"] else {
        panic!("{:?}", settings.repositories["s"]);
    };
    assert_eq!(s.endpoint_url.as_deref(), Some("http://127.0.0.1:1"));
    assert!(s.virtual_host_style && !s.create_containers);
    assert_eq!(s.part_size, 8 << 20);
    assert_eq!(s.availability_zone, "az7");
    assert!(s.secret_key_file.as_ref().unwrap().is_absolute());
    assert_eq!(s.access_key.as_deref(), Some("AK"));
    assert!(s.secret_key.is_some());
    assert!(!format!("{settings:?}").contains("hush"));
    let RepositoryConfig::S3(t) = &settings.repositories["t"] else {
        panic!("{:?}", settings.repositories["t"]);
    };
    assert_eq!(t.availability_zone, "own");
}

#[test]
fn a_swift_repository_is_read_with_its_settings_and_the_zone() {
    let file = "[backup]\navailability_zone = \"az7\"\n[repository.w]\ntype = \"swift\"\n\
                auth_url = \"http://k/v3\"\nauth_version = 3\nusername = \"u\"\ninsecure = true\nsegment_size = \"8MiB\"\n";
    let secrets = [
        ("ASHLAR_REPOSITORY_W_PASSWORD", "hush1"),
        ("ASHLAR_REPOSITORY_W_APPLICATION_CREDENTIAL_SECRET", "hush2"),
        ("ASHLAR_REPOSITORY_W_TOKEN", "hush3"),
    ];
    let settings = load_with(file, &secrets, &["repository.w.auth_version=v3"]).unwrap();
    let RepositoryConfig::Swift(w) = &settings.repositories["w"] else {
        panic!("{:?}", settings.repositories["w"]);
    };
    assert_eq!(w.username.as_deref(), Some("u"));
    assert!(w.insecure && w.password.is_some() && w.token.is_some());
    assert_eq!(
        (w.segment_size, w.availability_zone.as_str()),
        (8 << 20, "az7")
    );
    assert!(!format!("{settings:?}").contains("hush"));
    for secret in ["password", "token", "application_credential_secret"] {
        let option = format!("repository.w.{secret}=hush");
        assert!(load_with(file, &[], &[&option]).is_err(), "{secret}");
    }
}

#[test]
fn limits_are_set_for_all_repositories_and_for_each() {
    let file = "[backup]\nmax_bandwidth = \"10MiB\"\n[repository.default]\nrequests = 3\n\
                [repository.s]\ntype = \"s3\"\nmax_bandwidth = \"1MiB\"\nrequests = 7\n\
                [repository.free]\ntype = \"s3\"\nmax_bandwidth = 0\n";
    let settings = load_with(file, &[], &[]).unwrap();
    let of = |name: &str| {
        let limits = settings.limits[name];
        (limits.max_bandwidth, limits.requests)
    };
    assert_eq!(of("default"), (Some(10 << 20), Some(3)));
    assert_eq!(of("s"), (Some(1 << 20), Some(7)));
    assert_eq!(of("free"), (None, None));
    let RepositoryConfig::S3(s) = &settings.repositories["s"] else {
        panic!("{:?}", settings.repositories["s"]);
    };
    assert_eq!(s.requests, 7);
    let plain = load_with("", &[], &[]).unwrap();
    assert_eq!(plain.limits["default"], LimitSettings::default());
}

#[test]
fn a_setting_of_another_type_is_refused_with_its_own() {
    let e = load_with("[repository.s]\ntype = \"s3\"\npath = \"/x\"", &[], &[]).unwrap_err();
    assert!(e.to_string().contains("repository.s.path"), "{e}");
    assert!(e.hint_text().unwrap().contains("posix"));
    let e = load_with("[repository.default]\nbucket = \"x\"", &[], &[]).unwrap_err();
    assert!(e.hint_text().unwrap().contains("s3"), "{e}");
}

#[test]
fn a_secret_of_the_wrong_kind_is_not_told() {
    let file = "[repository.s]\ntype = \"s3\"\nsecret_key = 4711\n";
    let e = load_with(file, &[], &[]).unwrap_err();
    assert!(e.to_string().contains("secret_key"), "{e}");
    assert!(!format!("{e} {e:?}").contains("4711"), "{e}");
}

#[test]
fn the_operators_page_lists_every_setting() {
    let page = include_str!("../../../docs/operator.md");
    for key in keys::KEYS {
        let name = key.name.rsplit('.').next().unwrap();
        assert!(
            page.contains(&format!("`{name}`")),
            "{} is not in docs/operator.md",
            key.name
        );
        if key.types.contains(&"s3") {
            let page = include_str!("../../../docs/s3.md");
            assert!(
                page.contains(&format!("`{name}`")),
                "{} is not in docs/s3.md",
                key.name
            );
        }
    }
}
