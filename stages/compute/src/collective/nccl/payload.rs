//! What of a tensor NCCL wants to know.

use std::ffi::c_void;

use cudarc::nccl::sys::ncclDataType_t;
use tch::{Device, Kind, Tensor};

/// A tensor as NCCL sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload {
    /// Its first number, in the device's memory.
    pub(super) first: *mut c_void,
    /// How many numbers.
    pub(super) count: usize,
    pub(super) kind: ncclDataType_t,
}

impl Payload {
    /// That of a tensor on `device`, or why it cannot be sent. Nothing is copied: a call that writes into a copy would have
    /// no effect, so a tensor whose numbers do not follow each other is refused.
    pub(super) fn of(tensor: &Tensor, device: Device) -> Result<Self, String> {
        if tensor.device() != device {
            return Err(format!("a tensor on {:?} cannot be sent, this rank's are on {device:?}", tensor.device()));
        }
        let kind = data_type(tensor.kind())?;
        if !tensor.is_contiguous() {
            let (shape, strides) = (tensor.size(), tensor.stride());
            return Err(format!(
                "a tensor of shape {shape:?} and strides {strides:?} is not contiguous: it cannot be sent as it is"
            ));
        }
        Ok(Self { first: tensor.data_ptr(), count: tensor.numel(), kind })
    }
}

fn data_type(kind: Kind) -> Result<ncclDataType_t, String> {
    Ok(match kind {
        Kind::Float => ncclDataType_t::ncclFloat32,
        Kind::Double => ncclDataType_t::ncclFloat64,
        Kind::Half => ncclDataType_t::ncclFloat16,
        Kind::BFloat16 => ncclDataType_t::ncclBfloat16,
        Kind::Int64 => ncclDataType_t::ncclInt64,
        Kind::Int => ncclDataType_t::ncclInt32,
        Kind::Uint8 => ncclDataType_t::ncclUint8,
        other => {
            return Err(format!(
                "a tensor of {other:?} cannot be sent, only Float, Double, Half, BFloat16, Int64, Int and Uint8"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_sent() {
        let tensor = Tensor::zeros([2, 3], (Kind::BFloat16, Device::Cpu));
        let payload = Payload::of(&tensor, Device::Cpu).unwrap();
        assert_eq!((payload.first, payload.count), (tensor.data_ptr(), 6));
        assert_eq!(payload.kind, ncclDataType_t::ncclBfloat16);
        assert_eq!(Payload::of(&tensor.select(0, 1), Device::Cpu).unwrap().count, 3);
    }

    #[test]
    fn what_cannot() {
        let refusal = |tensor: &Tensor, device| Payload::of(tensor, device).unwrap_err();
        let tensor = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        assert_eq!(refusal(&tensor, Device::Cuda(1)), "a tensor on Cpu cannot be sent, this rank's are on Cuda(1)");
        assert_eq!(
            refusal(&tensor.tr(), Device::Cpu),
            "a tensor of shape [3, 2] and strides [1, 3] is not contiguous: it cannot be sent as it is"
        );
        assert_eq!(
            refusal(&tensor.to_kind(Kind::Bool), Device::Cpu),
            "a tensor of Bool cannot be sent, only Float, Double, Half, BFloat16, Int64, Int and Uint8"
        );
    }
}
