//! A `pg_snapshot`: which transactions had ended at a moment.

use std::{fmt, str::FromStr};

use super::Xid;

/// A `pg_snapshot` (Postgres documentation, "Transaction ID and Snapshot Information Functions").
///
/// Every transaction below `xmin` had ended; none from `xmax` on had begun to write; between them
/// those in `xip` were running.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    xmin: Xid,
    xmax: Xid,
    xip: Vec<Xid>,
}

/// Text that is no `pg_snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a pg_snapshot of the form `xmin:xmax:xip,…` with rising numbers")]
pub struct NotASnapshot;

impl Snapshot {
    /// The snapshot that sees nothing: where a sink that wants the whole log begins.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self {
            xmin: 1,
            xmax: 1,
            xip: Vec::new(),
        }
    }

    /// First transaction id that had not been given out.
    #[must_use]
    pub fn xmax(&self) -> Xid {
        self.xmax
    }

    /// The transactions that were running, in rising order.
    #[must_use]
    pub fn xip(&self) -> &[Xid] {
        &self.xip
    }

    /// Whether `xid` had ended. (Whether it had committed is what reading its rows tells.)
    #[must_use]
    pub fn sees(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && self.xip.binary_search(&xid).is_err())
    }
}

impl FromStr for Snapshot {
    type Err = NotASnapshot;

    fn from_str(text: &str) -> Result<Self, NotASnapshot> {
        let number = |text: &str| text.parse::<Xid>().map_err(|_| NotASnapshot);
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(xip), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NotASnapshot);
        };
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        let xip: Vec<Xid> = match xip {
            "" => Vec::new(),
            list => list.split(',').map(number).collect::<Result<_, _>>()?,
        };
        let rising = xip.windows(2).all(|pair| pair[0] < pair[1]);
        let within = xip.iter().all(|xid| (xmin..xmax).contains(xid));
        if xmin >= 1 && xmin <= xmax && rising && within {
            Ok(Self { xmin, xmax, xip })
        } else {
            Err(NotASnapshot)
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (i, xid) in self.xip.iter().enumerate() {
            write!(f, "{}{xid}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_reads_and_writes_as_postgres_does() {
        for text in ["1:1:", "700:700:", "700:710:700,703,709"] {
            assert_eq!(text.parse::<Snapshot>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "1:1",
            "1:1:1",
            "2:1:",
            "0:1:",
            "700:710:703,700",
            "700:710:710",
            "a:b:",
            "1:1::",
        ] {
            assert_eq!(bad.parse::<Snapshot>(), Err(NotASnapshot), "{bad}");
        }
    }

    #[test]
    fn a_snapshot_sees_what_had_ended() {
        let snapshot: Snapshot = "700:710:700,703".parse().unwrap();
        let seen: Vec<Xid> = (698..712).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [698, 699, 701, 702, 704, 705, 706, 707, 708, 709]);
    }
}
