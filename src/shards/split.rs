//! Where to cut a shard.

/// The last hash value of each part but the last, for `parts` parts of equal width; `None` when the range has not as many values.
pub fn split_points((first, last): (i32, i32), parts: u32) -> Option<Vec<i32>> {
    let values = i64::from(last) - i64::from(first) + 1;
    if parts == 0 || values < i64::from(parts) {
        return None;
    }
    let cut = |part: u32| i64::from(first) + values * i64::from(part) / i64::from(parts) - 1;
    (1..parts).map(|part| i32::try_from(cut(part)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_of_all_hash_values() {
        assert_eq!(split_points((i32::MIN, i32::MAX), 2), Some(vec![-1]));
        assert_eq!(split_points((0, 9), 3), Some(vec![2, 5]));
        assert_eq!(split_points((5, 5), 2), None);
    }

    proptest! {
        #[test]
        fn parts_are_in_order_not_empty_and_of_equal_width(a: i32, b: i32, parts in 2u32..64) {
            let (first, last) = (a.min(b), a.max(b));
            if let Some(points) = split_points((first, last), parts) {
                let ends: Vec<i64> = points.iter().map(|p| i64::from(*p)).chain([i64::from(last)]).collect();
                let begins = std::iter::once(i64::from(first)).chain(ends.iter().map(|end| end + 1));
                let widths: Vec<i64> = begins.zip(&ends).map(|(begin, end)| end - begin + 1).collect();
                let (min, max) = (widths.iter().min().expect("parts"), widths.iter().max().expect("parts"));
                prop_assert!(*min > 0 && max - min <= 1, "{widths:?}");
            }
        }
    }
}
