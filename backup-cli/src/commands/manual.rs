//! `ashlar completion` and `ashlar man`

use std::path::Path;

use backup_core::Error;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Result;
use crate::output::print;

pub(super) fn completion(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ashlar", &mut script);
    print(|out| out.write_all(&script))
}

/// Prints the page of `ashlar` itself, or writes the pages of all commands into a folder.
pub(super) fn man(dir: Option<&Path>) -> Result<()> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|e| Error::io("write", "the manual page", e))?;
        return print(|out| out.write_all(&page));
    };
    std::fs::create_dir_all(dir).map_err(|e| Error::io("make the folder", dir.display(), e))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .map_err(|e| Error::io("write manual pages into", dir.display(), e))?;
    Ok(())
}
