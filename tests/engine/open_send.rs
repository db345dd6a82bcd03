//! What a program may do with a tile whose send is open: read it, not write it.

use plummer::arena::Owner;
use plummer::exec::{PassError, RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileDecl, TileId};
use plummer::pe::{FaultKind, Kernel, Pe};
use plummer::units::{Color, Coord, Cycles};

const DATA: TileId = TileId(0);
const OTHER: TileId = TileId(1);

/// PE 0 posts a send of 32 words and touches a tile before it joins; PE 1 posts the receive and may touch it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    ReadSent,
    WriteSent,
    WriteBesideSent,
    ReadReceived,
}

impl Kernel for Touch {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let (data, other) = (pe.tile(DATA), pe.tile(OTHER));
        if pe.coord().col == 0 {
            let sent = pe.post_send(pe.tx(Color(0)), data);
            pe.compute(Cycles(1), |v| match self {
                Self::ReadSent => {
                    let ([a, b], out) = v.read_write([data.slice(0, 4), data.slice(4, 4)], other);
                    out[0] = a[0] + b[0];
                }
                Self::WriteSent => v.words_mut([data.slice(31, 1)])[0][0] = 1,
                Self::WriteBesideSent => v.words_mut([other])[0][0] = 1,
                Self::ReadReceived => {}
            });
            pe.join(sent).await;
        } else {
            let received = pe.post_recv(pe.rx(Color(0)), data);
            if *self == Self::ReadReceived {
                pe.compute(Cycles(1), |v| assert_eq!(v.words(data).len(), 32));
            }
            pe.join(received).await;
        }
    }
}

#[test]
fn an_open_send_may_be_read_and_an_open_receive_may_not() {
    for (touch, refused_at) in [
        (Touch::ReadSent, None),
        (Touch::WriteSent, Some(0)),
        (Touch::WriteBesideSent, None),
        (Touch::ReadReceived, Some(1)),
    ] {
        let mut layout = Layout::default();
        for col in 0..2 {
            for (id, bytes) in [(DATA, 128), (OTHER, 4)] {
                let decl = TileDecl { id, name: "data", owner: Owner::Activations, bytes, visit: 0 };
                layout.tile(Coord::new(col, 0), decl);
            }
        }
        layout.line(Color(0), Coord::new(0, 0), Coord::new(1, 0), false).unwrap();
        let chip = Chip::preset("wse2").unwrap();
        let fill = |_, _, words: &mut [u32]| words.fill(3);
        let mut wafer = Wafer::launch(touch, layout, &chip, &RunOptions::new(1), fill).unwrap();
        match (wafer.run(&[]), refused_at) {
            (Ok(()), None) => {}
            (Err(PassError::Fault(fault)), Some(col)) => {
                assert_eq!(fault.pe, Coord::new(col, 0), "{touch:?}");
                assert!(matches!(fault.kind, FaultKind::Touched { .. }), "{touch:?}: {fault}");
            }
            (found, _) => panic!("{touch:?}: {found:?}"),
        }
        if touch == Touch::ReadSent {
            assert_eq!(wafer.read(Coord::new(0, 0), OTHER).unwrap(), [6], "the values of the tile");
        }
    }
}
