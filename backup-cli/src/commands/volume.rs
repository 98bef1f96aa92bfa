//! `ashlar volume create | import-diff | list | show | delete | set`

use backup_core::catalog::{VolumeChange, VolumeFilter};
use backup_core::record::{GIB, gib_rounded_up};
use backup_core::service::{NewVolume, VolumeOrigin};
use backup_core::{Error, Timestamp, VolumeRecord, VolumeStatus};
use backup_drivers::VolumesConfig;
use serde_json::{Value, json};

use super::list::time;
use super::{difference, for_each, properties};
use crate::args::{VolumeCommand, VolumeCreate, VolumeList, VolumeSet};
use crate::failure::Result;
use crate::home::Home;
use crate::output::{Column, Output, column};

pub(super) async fn run(home: &Home, command: VolumeCommand, output: &Output) -> Result<()> {
    match command {
        VolumeCommand::Create(args) => create(home, args, output).await,
        VolumeCommand::ImportDiff(args) => {
            let volume = difference::import(home, args).await?;
            output.record(&fields(home, &volume))
        }
        VolumeCommand::List(args) => list(home, args, output).await,
        VolumeCommand::Show { volume } => {
            let volume = home.service.show_volume(&home.caller, &volume).await?;
            output.record(&fields(home, &volume))
        }
        VolumeCommand::Delete { volumes } => {
            for_each(&volumes, "volumes", async |volume| {
                let now = Timestamp::now();
                home.service
                    .delete_volume(&home.caller, &volume, now)
                    .await?;
                Ok(())
            })
            .await
        }
        VolumeCommand::Set(args) => set(home, args).await,
        // These have files of their own.
        VolumeCommand::Snapshot(_) | VolumeCommand::Backup(_) => Ok(()),
    }
}

async fn create(home: &Home, args: VolumeCreate, output: &Output) -> Result<()> {
    let rbd = !matches!(home.settings.volumes, VolumesConfig::File { .. });
    if rbd != args.image.is_some() && args.size.is_none() {
        let (given, provider) = if rbd {
            ("--file", "rbd")
        } else {
            ("--image", "file")
        };
        return Err(Error::invalid(
            format!("take what {given} names as a volume"),
            format!("the volumes' provider is {provider}"),
        )
        .hint("the setting volumes.provider chooses between `file` (--file) and `rbd` (--image)")
        .into());
    }
    let origin = match (args.size, args.file) {
        _ if args.image.is_some() => VolumeOrigin::Adopt(args.image.unwrap_or_default()),
        (_, Some(path)) => {
            let path = std::path::absolute(&path)
                .map_err(|e| Error::io("find the folder of", path.display(), e))?;
            let path = path
                .into_os_string()
                .into_string()
                .map_err(|p| Error::invalid("adopt", format!("{} is not UTF-8", p.display())))?;
            VolumeOrigin::Adopt(path)
        }
        (size, None) => VolumeOrigin::Empty {
            length: size.unwrap_or(1) * GIB,
        },
    };
    let new = NewVolume::new(origin)
        .named(args.name)
        .described(args.description)
        .with_properties(properties(args.property));
    let volume = home
        .service
        .create_volume(&home.caller, new, Timestamp::now())
        .await?;
    output.record(&fields(home, &volume))
}

const COLUMNS: &[Column] = &[
    column("ID", "id"),
    column("Name", "name"),
    column("Status", "status"),
    column("Size", "size"),
    column("Attached to", "attached_to"),
];

const LONG: &[Column] = &[
    column("ID", "id"),
    column("Name", "name"),
    column("Status", "status"),
    column("Size", "size"),
    column("Type", "type"),
    column("Bootable", "bootable"),
    column("Attached to", "attached_to"),
    column("Properties", "properties"),
    column("Path", "path"),
];

async fn list(home: &Home, args: VolumeList, output: &Output) -> Result<()> {
    let filter = VolumeFilter {
        project: (!args.all_projects).then(|| home.caller.project_id.clone()),
        status: args
            .status
            .as_deref()
            .map(str::parse::<VolumeStatus>)
            .transpose()?,
        name: args.name,
    };
    let volumes = home.service.list_volumes(&home.caller, &filter).await?;
    let rows: Vec<Vec<Value>> = volumes
        .iter()
        .map(|v| {
            let mut row = vec![
                json!(v.id.to_string()),
                json!(v.name),
                json!(v.status.word()),
                json!(gib_rounded_up(v.length)),
            ];
            if args.long {
                row.extend([
                    Value::Null,
                    json!(v.bootable),
                    json!([]),
                    json!(v.properties),
                    json!(v.provider_location),
                ]);
            } else {
                row.push(json!([]));
            }
            row
        })
        .collect();
    output.list(if args.long { LONG } else { COLUMNS }, &rows)
}

async fn set(home: &Home, args: VolumeSet) -> Result<()> {
    let change = VolumeChange {
        name: args.name,
        description: args.description,
        set_properties: properties(args.property),
        unset_properties: Vec::new(),
        status: args.state.as_deref().map(str::parse).transpose()?,
        length: None,
    };
    home.service
        .set_volume(&home.caller, &args.volume, &change, Timestamp::now())
        .await?;
    Ok(())
}

/// A volume's fields, in the order of the alphabet, as the `openstack` client shows them.
fn fields(home: &Home, v: &VolumeRecord) -> Vec<(&'static str, Value)> {
    vec![
        ("adopted", json!(v.adopted)),
        ("attachments", json!([])),
        (
            "availability_zone",
            json!(home.settings.backup.availability_zone),
        ),
        ("bootable", json!(v.bootable)),
        ("created_at", time(v.created_at)),
        ("description", json!(v.description)),
        ("encrypted", json!(v.encryption_key_id.is_some())),
        ("id", json!(v.id.to_string())),
        ("image_properties", json!(v.image_properties)),
        ("name", json!(v.name)),
        ("path", json!(v.provider_location)),
        ("project_id", json!(v.project_id)),
        ("properties", json!(v.properties)),
        ("size", json!(gib_rounded_up(v.length))),
        ("size_bytes", json!(v.length)),
        ("status", json!(v.status.word())),
        ("updated_at", v.updated_at.map_or(Value::Null, time)),
        ("user_id", json!(v.user_id)),
    ]
}
