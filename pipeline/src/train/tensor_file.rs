//! Tensors as a safetensors file.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use mugs_compute::state::OrderedTensors;
use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};

/// Writes the tensors, with what is said `about` them as the file's metadata. Their bytes are copied one tensor at a
/// time.
pub fn write(path: &Path, tensors: OrderedTensors, about: Vec<(String, String)>) -> Result<()> {
    let write = || -> Result<()> {
        let entries: Vec<(String, Entry)> = tensors
            .into_iter()
            .map(|(name, tensor)| {
                let entry = Entry::new(&tensor).with_context(|| format!("tensor {name}"))?;
                Ok((name, entry))
            })
            .collect::<Result<_>>()?;
        let about = (!about.is_empty()).then(|| about.into_iter().collect());
        Ok(safetensors::serialize_to_file(entries, about, path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A tensor on the host.
struct Entry {
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
}

impl Entry {
    fn new(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.detach().f_to_device(Device::Cpu)?.f_contiguous()?;
        let dtype = match tensor.kind() {
            Kind::Float => Dtype::F32,
            Kind::Double => Dtype::F64,
            Kind::Half => Dtype::F16,
            Kind::BFloat16 => Dtype::BF16,
            Kind::Int64 => Dtype::I64,
            Kind::Int => Dtype::I32,
            Kind::Uint8 => Dtype::U8,
            Kind::Bool => Dtype::BOOL,
            other => bail!("values of the type {other:?} have no place in a safetensors file"),
        };
        let shape = tensor.size().into_iter().map(usize::try_from).collect::<Result<_, _>>()?;
        let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
        Ok(Self { tensor, dtype, shape, bytes })
    }
}

impl View for Entry {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.bytes];
        if self.bytes > 0 {
            self.tensor.copy_data_u8(&mut bytes, self.tensor.numel());
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let floats = Tensor::from_slice(&[1.0f32, -0.0, f32::MIN_POSITIVE, 0.1, 5.0, 6.0]).view([2, 3]);
        let tensors = vec![
            // Not as it lies in memory.
            ("turned".to_owned(), floats.tr()),
            ("flags".to_owned(), Tensor::from_slice(&[true, false])),
            ("one".to_owned(), Tensor::from(0.1f64)),
            ("none".to_owned(), floats.narrow(0, 0, 0)),
        ];
        write(&path, tensors, vec![("step".into(), "3".into())]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["step"], "3");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let turned = file.tensor("turned").unwrap();
        assert_eq!((turned.dtype(), turned.shape()), (Dtype::F32, &[3, 2][..]));
        let expected: Vec<u8> =
            [1.0f32, 0.1, -0.0, 5.0, f32::MIN_POSITIVE, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(turned.data(), expected);
        let flags = file.tensor("flags").unwrap();
        assert_eq!((flags.dtype(), flags.data()), (Dtype::BOOL, &[1, 0][..]));
        let one = file.tensor("one").unwrap();
        assert_eq!((one.dtype(), one.shape().len(), one.data()), (Dtype::F64, 0, &0.1f64.to_le_bytes()[..]));
        assert_eq!(file.tensor("none").unwrap().shape(), [0, 3]);
        assert!(write(&folder.path().join("no/folder"), vec![], vec![]).unwrap_err().to_string().contains("no/folder"));
    }
}
