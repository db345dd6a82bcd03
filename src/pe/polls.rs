//! How the operations that block are polled: begun once, then asked for their end.
//!
//! Invariant: a future is polled again only after the lane, port or ticket that it waits for has moved.
//! Invariant: a PE that was stopped stays pending for ever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::link::{BY_PORT, Ctrl, NONE, Sent, Status};

use super::ops::{Combine, Recv, Send, Take};
use super::trace::Did;

impl Future for Send<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let pe = self.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) {
            return Poll::Pending;
        }
        if self.open == NONE {
            match pe.begin_send(&mut net, self.tx, self.tile, self.ctrl, self.place) {
                Some(Sent::Open(ticket)) => self.open = ticket,
                Some(Sent::Left) => self.open = self.tx.port | BY_PORT,
                Some(Sent::Ended(end)) => {
                    pe.ends(&mut net, end);
                    return Poll::Ready(());
                }
                None => return Poll::Pending,
            }
        }
        pe.poll_end(&mut net, self.open, Did::Send, self.place).map(|_| ())
    }
}

impl Future for Recv<'_> {
    type Output = Ctrl;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Ctrl> {
        let pe = self.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) {
            return Poll::Pending;
        }
        let status = if self.pass { Status::OnPass } else { Status::OnLane };
        let Recv { rx, tile, fold, place, .. } = *self;
        pe.poll_recv(&mut net, Take { rx, tile, fold, status, place })
    }
}

impl Future for Combine<'_> {
    type Output = Ctrl;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Ctrl> {
        let pe = self.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) {
            return Poll::Pending;
        }
        if self.open == NONE {
            let lanes = (self.rx, self.tx);
            match pe.start_combine(&mut net, lanes, self.tile, self.fold, self.place) {
                Some((Sent::Open(ticket), _)) => self.open = ticket,
                // Without control words: the default is what came.
                Some((Sent::Left, _)) => self.open = self.tx.port | BY_PORT,
                Some((Sent::Ended(end), ctrl)) => {
                    pe.ends(&mut net, end);
                    return Poll::Ready(ctrl);
                }
                None => return Poll::Pending,
            }
        }
        pe.poll_end(&mut net, self.open, Did::Combine, self.place)
    }
}
