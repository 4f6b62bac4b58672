//! `verbatim pack`: a checkpoint as one image file.
use super::args::PackArgs;
use super::errors;
use super::hub::missing::fetch_missing;
use super::output;
use super::session::{open, tell_notes};
use crate::load::image_file::NewImage;

/// Loads a model and writes its image; the fingerprint stays the same.
pub(super) fn pack(args: &PackArgs) -> Result<(), String> {
    let (options, file) = args.options()?;
    fetch_missing(&options, args.hub())?;
    // A file that cannot be written is an error before minutes of packing.
    let new = NewImage::at(file).map_err(|error| errors::load(&error))?;
    let served = open(&options)?;
    tell_notes(&served);
    new.write(&served.loaded, &served.pool).map_err(|error| errors::load(&error))?;
    let gigabytes = served.loaded.image().len() as f64 / 1e9;
    output::line(format_args!("{}: {gigabytes:.3} GB, fingerprint {}", file.display(), served.fingerprint))
}
