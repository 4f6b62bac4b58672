//! `verbatim pack`: a checkpoint as one image file.
use super::args::PackArgs;
use super::generate::Bar;
use crate::load::image_file::write_image;
use crate::runtime::ServedModel;

/// Loads a model and writes its image; the fingerprint stays the same.
pub(super) fn pack(args: &PackArgs) -> Result<(), String> {
    let served = ServedModel::open(&args.model.options()?, &Bar::new())?;
    write_image(&served.loaded, &args.output).map_err(|error| error.to_string())?;
    let gigabytes = served.loaded.image().len() as f64 / 1e9;
    println!("{}: {gigabytes:.3} GB, fingerprint {}", args.output.display(), served.fingerprint);
    Ok(())
}
