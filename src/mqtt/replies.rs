//! Replies that are not written yet, in order: some may go at once, others once the disk has what they
//! promise.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::journal::Place;

/// The replies of one connection.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    ready: BytesMut,
    held: BytesMut,
    /// For each stretch of `held`, the place it waits for and its bytes.
    gates: VecDeque<(Place, usize)>,
}

impl Replies {
    /// Unwritten bytes.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.held.len()
    }

    /// Lets `write` append a reply that may go once everything up to `place` is on disk. It never
    /// overtakes a reply before it.
    pub(crate) fn add<E>(
        &mut self,
        place: Place,
        durable: Place,
        write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.gates.is_empty() && place <= durable {
            return write(&mut self.ready);
        }
        let before = self.held.len();
        write(&mut self.held)?;
        let bytes = self.held.len() - before;
        match self.gates.back_mut() {
            Some((last, sum)) if *last >= place => *sum += bytes,
            _ => self.gates.push_back((place, bytes)),
        }
        Ok(())
    }

    /// Moves what may go to the end of `out`; says what the next one waits for.
    pub(crate) fn take(&mut self, durable: Place, out: &mut BytesMut) -> Option<Place> {
        while let Some((_, bytes)) = self.gates.pop_front_if(|(place, _)| *place <= durable) {
            let free = self.held.split_to(bytes);
            self.ready.extend_from_slice(&free);
        }
        if self.gates.is_empty() && self.held.capacity() > 0 {
            self.held = BytesMut::new();
        }
        if out.is_empty() {
            std::mem::swap(&mut self.ready, out);
            self.ready = BytesMut::new();
        } else {
            out.extend_from_slice(&self.ready);
            self.ready.clear();
        }
        self.gates.front().map(|(place, _)| *place)
    }

    /// The place the last reply waits for.
    pub(crate) fn last_gate(&self) -> Option<Place> {
        self.gates.back().map(|(place, _)| *place)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::BufMut;

    use super::*;

    #[test]
    fn a_reply_waits_for_its_place_and_for_those_before_it() {
        let mut replies = Replies::default();
        let add = |replies: &mut Replies, byte: u8, place: u64, durable: u64| {
            let write = |out: &mut BytesMut| {
                out.put_u8(byte);
                Ok::<(), Infallible>(())
            };
            replies.add(Place::new(place), Place::new(durable), write).unwrap();
        };
        add(&mut replies, 1, 0, 0);
        add(&mut replies, 2, 7, 5);
        add(&mut replies, 3, 0, 5);
        add(&mut replies, 4, 9, 5);
        add(&mut replies, 5, 8, 5);
        assert_eq!((replies.len(), replies.last_gate()), (5, Some(Place::new(9))));
        let mut out = BytesMut::new();
        assert_eq!(replies.take(Place::new(6), &mut out), Some(Place::new(7)));
        assert_eq!(&out[..], [1]);
        assert_eq!(replies.take(Place::new(8), &mut out), Some(Place::new(9)));
        assert_eq!(&out[..], [1, 2, 3]);
        assert_eq!(replies.take(Place::new(9), &mut out), None);
        assert_eq!(&out[..], [1, 2, 3, 4, 5]);
        add(&mut replies, 6, 9, 9);
        assert_eq!(replies.take(Place::new(9), &mut out), None);
        assert_eq!((&out[5..], replies.len()), (&[6][..], 0));
    }
}
