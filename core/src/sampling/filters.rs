//! Top-k, top-p and min-p: the filters that choose the tokens that may be drawn.
//!
//! Tokens are ordered by descending weight, ties by the lower id. top-k keeps the first k; top-p
//! keeps the shortest beginning of those whose weights reach `top_p` of their sum, added in that
//! order; min-p keeps those whose weight is at least `min_p` of the maximum. A heap gives the order
//! as far as it is needed: O(vocab) to build, O(log vocab) for each token kept.
use super::params::SamplingParams;

/// Whether `a` stands before `b` in the order.
fn comes_first(weights: &[f32], a: u32, b: u32) -> bool {
    let (x, y) = (weights[a as usize], weights[b as usize]);
    x > y || (x == y && a < b)
}

fn sift_down(heap: &mut [u32], weights: &[f32], mut at: usize) {
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && comes_first(weights, heap[child + 1], heap[child]) {
            child += 1;
        }
        if !comes_first(weights, heap[child], heap[at]) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// Takes the first id off the heap and returns its weight. Popped ids go to the end that the heap
/// no longer needs: the first one lies last, the next one before it.
fn pop(heap: &mut [u32], weights: &[f32], popped: &mut usize) -> f32 {
    let last = heap.len() - 1 - *popped;
    heap.swap(0, last);
    sift_down(&mut heap[..last], weights, 0);
    *popped += 1;
    weights[heap[last] as usize]
}

/// Fills the end of `heap` with the ids that are kept; returns how many these are, at least 1.
///
/// `weights` are `e^(z − max z)`, one of them 1 and none negative, and `total` is their sum. Tokens
/// of weight 0 are never kept. `heap` is as long as `weights`.
pub fn keep(params: &SamplingParams, weights: &[f32], total: f32, heap: &mut [u32]) -> usize {
    let mut count = 0;
    let weight_min = params.min_p;
    for (id, weight) in weights.iter().enumerate() {
        // All others take part in the sums of top-p, even those that min-p drops.
        if *weight > 0.0 {
            heap[count] = id as u32;
            count += 1;
        }
    }
    let len = heap.len();
    if params.top_k == 0 && params.top_p >= 1.0 {
        // min-p alone needs no order.
        let mut kept = 0;
        for i in 0..count {
            if weights[heap[i] as usize] >= weight_min {
                heap[kept] = heap[i];
                kept += 1;
            }
        }
        heap.copy_within(0..kept, len - kept);
        return kept;
    }
    let kept_max = if params.top_k == 0 { count } else { count.min(params.top_k as usize) };
    for at in (0..count / 2).rev() {
        sift_down(&mut heap[..count], weights, at);
    }
    let mut popped = 0;
    let total = if params.top_k == 0 {
        total
    } else {
        let mut sum = 0.0;
        while popped < kept_max {
            sum += pop(&mut heap[..count], weights, &mut popped);
        }
        sum
    };
    let wanted = params.top_p * total;
    let mut kept = 0;
    let mut sum = 0.0;
    while kept < kept_max && (kept == 0 || (sum < wanted || params.top_p >= 1.0)) {
        if kept == popped {
            pop(&mut heap[..count], weights, &mut popped);
        }
        let weight = weights[heap[count - 1 - kept] as usize];
        if weight < weight_min {
            break;
        }
        sum += weight;
        kept += 1;
    }
    heap.copy_within(count - kept..count, len - kept);
    kept
}
