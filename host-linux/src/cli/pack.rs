//! `verbatim pack`: a checkpoint as one image file.
use super::args::PackArgs;
use super::generate::Bar;
use crate::load::image_file::NewImage;
use crate::runtime::ServedModel;

/// Loads a model and writes its image; the fingerprint stays the same.
pub(super) fn pack(args: &PackArgs) -> Result<(), String> {
    let (options, output) = args.options()?;
    // A place that cannot be written is told before minutes of packing.
    let new = NewImage::at(output).map_err(|error| error.to_string())?;
    let served = ServedModel::open(&options, &Bar::new())?;
    served.tell_notes();
    new.write(&served.loaded, &served.pool).map_err(|error| error.to_string())?;
    let gigabytes = served.loaded.image().len() as f64 / 1e9;
    println!("{}: {gigabytes:.3} GB, fingerprint {}", output.display(), served.fingerprint);
    Ok(())
}
