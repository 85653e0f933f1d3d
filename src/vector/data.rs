//! Random vectors that lie in clusters, as embeddings do. Pure: each follows from the seed and its number alone.

use std::fmt::Write;

use crate::random::SplitMix64;

/// How far a vector is from its cluster's centre, as a part of how far centres are from each other.
const SPREAD: f32 = 0.4;
/// What is loaded and what is searched for are other draws.
const ROWS: u64 = 1;
const QUERIES: u64 = 2;
const CENTRES: u64 = 3;

/// Rows and searches of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    seed: u64,
    dims: usize,
    tenants: u64,
    centres: Vec<Vec<f32>>,
}

/// One draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// 1 up to the number of tenants; independent of the cluster.
    pub tenant: u64,
    /// The numbers.
    pub vector: Vec<f32>,
}

impl Vectors {
    /// So many vectors of so many numbers, of so many tenants; one cluster for every few hundred.
    pub fn new(seed: u64, rows: u64, dims: u32, tenants: u64) -> Self {
        let dims = dims as usize;
        let clusters = (rows / 400).clamp(8, 1000);
        let centre = |number| normal(&mut random(seed, CENTRES, number), dims);
        Self { seed, dims, tenants, centres: (0..clusters).map(centre).collect() }
    }

    /// A row, by its id.
    pub fn row(&self, id: u64) -> Drawn {
        self.draw(ROWS, id)
    }

    /// What is searched for, by its number.
    pub fn query(&self, number: u64) -> Drawn {
        self.draw(QUERIES, number)
    }

    fn draw(&self, stream: u64, number: u64) -> Drawn {
        let mut random = random(self.seed, stream, number);
        let tenant = random.below(self.tenants) + 1;
        let centre = &self.centres[random.below(self.centres.len() as u64) as usize];
        let around = normal(&mut random, self.dims);
        Drawn { tenant, vector: centre.iter().zip(around).map(|(centre, around)| centre + SPREAD * around).collect() }
    }

    /// A line of COPY: id, distribution column, embedding, payload.
    pub fn copy_line(&self, id: u64, text: &mut String) {
        let Drawn { tenant, vector } = self.row(id);
        // Writing into a String cannot fail.
        let _ = write!(text, "{id}\t{tenant}\t");
        write_vector(&vector, text);
        text.push_str("\t{}\n");
    }
}

/// As both extensions read it: `[0.1234,-1.5000]`.
pub fn text(vector: &[f32]) -> String {
    let mut text = String::with_capacity(vector.len() * 8);
    write_vector(vector, &mut text);
    text
}

fn write_vector(vector: &[f32], text: &mut String) {
    for (index, number) in vector.iter().enumerate() {
        let _ = write!(text, "{}{number:.4}", if index == 0 { '[' } else { ',' });
    }
    text.push(']');
}

/// Normally distributed numbers (Box and Muller).
fn normal(random: &mut SplitMix64, count: usize) -> Vec<f32> {
    let one = |random: &mut SplitMix64| {
        let (a, b) = (random.unit(), random.unit());
        ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
    };
    (0..count).map(|_| one(random)).collect()
}

/// What one draw is made of: it depends on no other.
fn random(seed: u64, stream: u64, number: u64) -> SplitMix64 {
    let mut start = SplitMix64::new(seed ^ stream.wrapping_mul(0xD605_1A3B_9B1F_7C05));
    SplitMix64::new(start.draw() ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_follow_from_the_seed() {
        // What was measured with a seed can be measured again.
        assert_eq!(random(7, ROWS, 5).draw(), 9_543_504_619_518_113_735);
        let vectors = Vectors::new(7, 2000, 8, 4);
        assert_eq!(vectors.row(5), Vectors::new(7, 2000, 8, 4).row(5));
        assert_ne!(vectors.row(5), Vectors::new(8, 2000, 8, 4).row(5));
        assert_ne!(vectors.row(5), vectors.query(5));
        assert!((1..=200).all(|id| (1..=4).contains(&vectors.row(id).tenant)));
        assert!((1..=200).all(|id| vectors.row(id).vector.iter().all(|number| number.is_finite())));
    }

    #[test]
    fn vectors_lie_in_clusters() {
        let vectors = Vectors::new(7, 2000, 32, 4);
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let rows: Vec<_> = (1..=200).map(|id| vectors.row(id).vector).collect();
        let nearest = |row: &Vec<f32>| {
            let others = rows.iter().filter(|other| *other != row).map(|other| distance(row, other));
            others.fold(f32::MAX, f32::min)
        };
        let near = rows.iter().map(nearest).sum::<f32>() / 200.0;
        let any = rows.iter().map(|row| distance(row, &rows[0])).sum::<f32>() / 199.0;
        assert!(near * 3.0 < any, "nearest {near}, any {any}");
    }

    #[test]
    fn a_line_is_what_copy_reads() {
        let mut line = String::new();
        let vectors = Vectors::new(7, 2000, 3, 4);
        vectors.copy_line(12, &mut line);
        let row = vectors.row(12);
        assert_eq!(line, format!("12\t{}\t{}\t{{}}\n", row.tenant, text(&row.vector)));
        assert_eq!(text(&[0.5, -1.0]), "[0.5000,-1.0000]");
    }
}
