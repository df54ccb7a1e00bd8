//! Ranks as threads of this process, each with a connection and a group of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]
use std::ffi::{CStr, c_char, c_int};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use libc::sockaddr;
use mugs_test_support::free_port;
use mugs_torch_ext::{Address, Gloo, GlooError, TcpStore, gradients_by, hook_gradient, set_gradient, through};
use tch::{Device, Kind, Tensor};

const SOON: Duration = Duration::from_secs(20);

fn group(store: &TcpStore, rank: usize, world: usize, timeout: Duration) -> Gloo {
    Gloo::connect(store, "test", [rank, world], timeout, &Address::Host("127.0.0.1".into())).unwrap()
}

/// Waits until both ranks have come here, so that neither goes while the other still needs it.
fn meet(store: &TcpStore) {
    let begun = Instant::now();
    store.add("done", 1).unwrap();
    while store.add("done", 0).unwrap() < 2 {
        assert!(begun.elapsed() < 2 * SOON, "the other rank has failed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `rank` in a thread each.
fn ranks<T: Send>(world: usize, timeout: Duration, rank: impl Fn(usize, Gloo, &TcpStore) -> T + Sync) -> Vec<T> {
    let server = TcpStore::connect("127.0.0.1", 0, true, SOON).unwrap();
    let (port, rank) = (server.port(), &rank);
    std::thread::scope(|scope| {
        let start = |number| {
            scope.spawn(move || {
                let store = TcpStore::connect("127.0.0.1", port, false, SOON).unwrap();
                rank(number, group(&store, number, world, timeout), &store)
            })
        };
        let threads: Vec<_> = (0..world).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn the_store_keeps_what_one_rank_puts_for_the_others() {
    // A port that no other test's store is given once this one has gone.
    let server = TcpStore::connect("127.0.0.1", free_port(), true, SOON).unwrap();
    let client = TcpStore::connect("127.0.0.1", server.port(), false, SOON).unwrap();
    assert!(!client.has("key").unwrap());
    server.set("key", b"some\0bytes").unwrap();
    assert!(client.has("key").unwrap());
    // Whoever asks after it was put finds it, whatever connection he asks over.
    for number in 0..1000 {
        let key = format!("key {number}");
        server.set(&key, b"1").unwrap();
        assert!(client.has(&key).unwrap(), "{key}");
    }
    assert_eq!(client.get("key", SOON).unwrap(), b"some\0bytes");
    server.set("empty", b"").unwrap();
    assert_eq!(client.get("empty", SOON).unwrap(), b"");
    assert_eq!([client.add("count", 2).unwrap(), server.add("count", 3).unwrap()], [2, 5]);

    let begun = Instant::now();
    let error = client.get("nobody puts it", Duration::from_millis(300)).unwrap_err();
    assert!(begun.elapsed() < SOON);
    assert_eq!(error.operation, "waiting for nobody puts it");
    assert!(error.to_string().contains("at the store 127.0.0.1:"), "{error}");

    let error = TcpStore::connect("127.0.0.1", server.port(), true, Duration::from_secs(2)).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    let port = server.port();
    drop((client, server));
    let error = TcpStore::connect("127.0.0.1", port, false, Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().starts_with("meeting at the store 127.0.0.1:"), "{error}");
}

/// A store's server that asks a name server who has come answers nobody until it hears.
#[test]
fn nobody_is_asked_for_names() {
    type Ask = unsafe extern "C" fn(*const sockaddr, u32, *mut c_char, u32, *mut c_char, u32, c_int) -> c_int;
    // SAFETY: both texts end with 0.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getnameinfo".as_ptr()) };
    assert!(!found.is_null());
    // SAFETY: that is its type, and this the place where libtorch finds it too.
    let ask: Ask = unsafe { std::mem::transmute(found) };
    let local = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 80_u16.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    let (mut host, mut service) = ([0_u8; 64], [0_u8; 64]);
    let [host_at, service_at] = [&mut host, &mut service].map(|text| text.as_mut_ptr().cast());
    let length = size_of_val(&local) as u32;
    // SAFETY: an address of the length said, and two texts of theirs.
    let answer = unsafe { ask((&raw const local).cast(), length, host_at, 64, service_at, 64, libc::NI_NUMERICSERV) };
    let text = |bytes: &[u8]| CStr::from_bytes_until_nul(bytes).unwrap().to_str().unwrap().to_owned();
    assert_eq!((answer, text(&host), text(&service)), (0, "127.0.0.1".into(), "80".into()));
}

#[test]
fn ranks_sum_gather_and_broadcast() {
    for world in [1, 2, 3] {
        let results = ranks(world, SOON, |rank, gloo, _| {
            let own = Tensor::from_slice(&[rank as f32 + 1.0, 10.0]);
            let sum = own.copy();
            gloo.all_reduce(&sum).unwrap().wait().unwrap();
            let all = Tensor::zeros([world as i64, 2], (Kind::Float, Device::Cpu));
            gloo.all_gather(&own, &all).unwrap().wait().unwrap();
            let sent = own.copy();
            gloo.broadcast(&sent, world - 1).unwrap().wait().unwrap();
            [sum, all.flatten(0, 1), sent].map(|tensor| Vec::<f32>::try_from(tensor).unwrap())
        });
        let number = world as f32;
        let all: Vec<f32> = (1..=world).flat_map(|rank| [rank as f32, 10.0]).collect();
        for [sum, gathered, sent] in results {
            assert_eq!(sum, [number * (number + 1.0) / 2.0, 10.0 * number]);
            assert_eq!(gathered, all);
            assert_eq!(sent, [number, 10.0]);
        }
    }
}

#[test]
fn a_rank_that_does_not_come_ends_the_wait() {
    // The group's own meeting takes no longer either, on a busy machine too.
    let errors = ranks(2, Duration::from_secs(10), |rank, gloo, store| {
        let tensor = Tensor::from_slice(&[1_f32]);
        let error = (rank == 0).then(|| gloo.all_reduce(&tensor).unwrap().wait().unwrap_err());
        // The other is there until the first has given up.
        meet(store);
        gloo.forget();
        error
    });
    let [Some(GlooError::Failed(message)), None] = &errors[..] else { panic!("{errors:?}") };
    assert!(message.to_lowercase().contains("timed out"), "{message}");
}

#[test]
fn groups_of_one_process_begin_at_once() {
    const GROUPS: usize = 8;
    let store = TcpStore::connect("127.0.0.1", 0, true, SOON).unwrap();
    for round in 0..20 {
        let begin = Barrier::new(GROUPS);
        let alone = |number| {
            let (name, host) = (format!("{round}/{number}"), Address::Host("127.0.0.1".into()));
            let gloo = Gloo::connect(&store, &name, [0, 1], SOON, &host).unwrap();
            let tensor = Tensor::from_slice(&[3_f32]);
            begin.wait();
            gloo.all_reduce(&tensor).unwrap().wait().unwrap();
            Vec::<f32>::try_from(tensor).unwrap()
        };
        let alone = &alone;
        let sums: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..GROUPS).map(|number| scope.spawn(move || alone(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sums, [[3.0]; GROUPS]);
    }
}

#[test]
fn a_wait_is_given_up_from_another_thread() {
    let errors = ranks(2, SOON, |rank, gloo, store| {
        let error = (rank == 0).then(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(200));
                    gloo.abort();
                });
                let begun = Instant::now();
                let first = gloo.all_reduce(&Tensor::from_slice(&[1_f32])).unwrap().wait().unwrap_err();
                assert!(begun.elapsed() < SOON / 2);
                // Later calls too.
                let later = gloo.all_reduce(&Tensor::from_slice(&[1_f32])).unwrap().wait().unwrap_err();
                [first, later]
            })
        });
        meet(store);
        gloo.forget();
        error
    });
    assert_eq!(errors, [Some([GlooError::Aborted, GlooError::Aborted]), None]);
}

#[test]
fn hooks_see_gradients_as_soon_as_they_are_whole() {
    let parameter = Tensor::from_slice(&[1_f32, 2.0]).set_requires_grad(true);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let hook = hook_gradient(&parameter, move |gradient| {
        record.lock().unwrap().push(Vec::<f32>::try_from(gradient).unwrap());
        Ok(())
    })
    .unwrap();
    // Two uses add up before it is called.
    ((&parameter * 3.0).sum(Kind::Float) + (&parameter * 2.0).sum(Kind::Float)).backward();
    (&parameter * 1.0).sum(Kind::Float).backward();
    assert_eq!(*seen.lock().unwrap(), [[5.0, 5.0], [6.0, 6.0]]);
    drop(hook);
    (&parameter * 1.0).sum(Kind::Float).backward();
    assert_eq!(seen.lock().unwrap().len(), 2);

    let _hook = hook_gradient(&parameter, |_| Err("the hook's reason".into())).unwrap();
    let error = (&parameter * 1.0).sum(Kind::Float).f_backward().unwrap_err().to_string();
    assert!(error.contains("the hook's reason"), "{error}");
}

#[test]
fn a_change_acts_on_values_and_gradients_and_is_released() {
    let input = Tensor::from_slice(&[1_f32, 2.0]).set_requires_grad(true);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let output = through(&input, move |tensor| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = tensor.shallow_clone().g_mul_scalar_(10.0);
        Ok(())
    })
    .unwrap();
    assert_eq!(Vec::<f32>::try_from(&output).unwrap(), [10.0, 20.0]);
    (&output * 3.0).sum(Kind::Float).backward();
    assert_eq!(Vec::<f32>::try_from(input.grad()).unwrap(), [30.0, 30.0]);
    assert_eq!((Vec::<f32>::try_from(&input).unwrap(), calls.load(Ordering::Relaxed)), (vec![1.0, 2.0], 2));
    drop(output);
    assert_eq!(Arc::strong_count(&calls), 1);

    let error = through(&input, |_| Err("no\nline break".into())).unwrap_err();
    assert!(error.contains("no line break"), "{error}");
    let panicked = through(&input, |_| panic!("on purpose")).unwrap_err();
    assert!(panicked.contains("panicked"), "{panicked}");
}

#[test]
fn gradients_add_up_where_they_were_put() {
    let parameter = Tensor::from_slice(&[1_f32, 2.0]).set_requires_grad(true);
    let flat = Tensor::zeros([3], (Kind::Float, Device::Cpu));
    set_gradient(&parameter, &flat.narrow(0, 1, 2)).unwrap();
    for _ in 0..2 {
        (&parameter * 3.0).sum(Kind::Float).backward();
    }
    assert_eq!(Vec::<f32>::try_from(&flat).unwrap(), [0.0, 6.0, 6.0]);
    let error = set_gradient(&parameter, &flat).unwrap_err();
    assert_eq!(error, "a gradient of shape [3] is none of [2]");
}

#[test]
fn gradients_of_a_part_of_a_graph_leave_the_leaves_alone() {
    let [x, y] = [[1_f32, 2.0], [3.0, 5.0]].map(|values| Tensor::from_slice(&values).set_requires_grad(true));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let _hook = hook_gradient(&x, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let product = &x * &y;
    let gradient = Tensor::from_slice(&[10_f32, 1.0]);
    let [by_x, by_y] = gradients_by([&x, &y], &product, &gradient).unwrap();
    let values = |tensor: &Tensor| Vec::<f32>::try_from(tensor).unwrap();
    assert_eq!([values(&by_x), values(&by_y)], [[30.0, 5.0], [10.0, 2.0]]);
    assert!(!x.grad().defined() && !y.grad().defined() && calls.load(Ordering::Relaxed) == 0);

    // The graph is used up; another input has no part in it; a gradient of another shape fits nothing.
    assert!(gradients_by([&x], &product, &gradient).is_err());
    let error = gradients_by([&y], &(&x * 2.0), &gradient).unwrap_err();
    assert!(error.contains("to not have been used in the graph"), "{error}");
    let error = gradients_by([&x], &(&x * 2.0), &Tensor::from_slice(&[1_f32])).unwrap_err();
    assert!(error.contains("shape"), "{error}");
}
