// Made by scripts/librbd-bindings from the headers of Ceph 16. Not edited by hand.

pub const LIBRADOS_CREATE_EXCLUSIVE: u32 = 1;
pub const RBD_FEATURE_LAYERING: u32 = 1;
pub const RBD_FEATURE_STRIPINGV2: u32 = 2;
pub const RBD_FEATURE_EXCLUSIVE_LOCK: u32 = 4;
pub const RBD_FEATURE_OBJECT_MAP: u32 = 8;
pub const RBD_FEATURE_FAST_DIFF: u32 = 16;
pub const RBD_FEATURE_DEEP_FLATTEN: u32 = 32;
pub const RBD_FEATURE_JOURNALING: u32 = 64;
pub const RBD_FLAG_OBJECT_MAP_INVALID: u32 = 1;
pub const RBD_FLAG_FAST_DIFF_INVALID: u32 = 2;
pub type __time_t = ::core::ffi::c_long;
pub type __syscall_slong_t = ::core::ffi::c_long;
pub type time_t = __time_t;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct timespec {
    pub tv_sec: __time_t,
    pub tv_nsec: __syscall_slong_t,
}
pub const LIBRADOS_OP_FLAG_EXCL: _bindgen_ty_10 = 1;
pub const LIBRADOS_OP_FLAG_FAILOK: _bindgen_ty_10 = 2;
pub const LIBRADOS_OP_FLAG_FADVISE_RANDOM: _bindgen_ty_10 = 4;
pub const LIBRADOS_OP_FLAG_FADVISE_SEQUENTIAL: _bindgen_ty_10 = 8;
pub const LIBRADOS_OP_FLAG_FADVISE_WILLNEED: _bindgen_ty_10 = 16;
pub const LIBRADOS_OP_FLAG_FADVISE_DONTNEED: _bindgen_ty_10 = 32;
pub const LIBRADOS_OP_FLAG_FADVISE_NOCACHE: _bindgen_ty_10 = 64;
pub const LIBRADOS_OP_FLAG_FADVISE_FUA: _bindgen_ty_10 = 128;
pub type _bindgen_ty_10 = ::core::ffi::c_uint;
pub type rados_t = *mut ::core::ffi::c_void;
pub type rados_ioctx_t = *mut ::core::ffi::c_void;
pub type rados_list_ctx_t = *mut ::core::ffi::c_void;
pub type rados_snap_t = u64;
pub type rados_write_op_t = *mut ::core::ffi::c_void;
unsafe extern "C" {
    pub fn rados_create(
        cluster: *mut rados_t,
        id: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_connect(cluster: rados_t) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_shutdown(cluster: rados_t);
}
unsafe extern "C" {
    pub fn rados_conf_read_file(
        cluster: rados_t,
        path: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_conf_set(
        cluster: rados_t,
        option: *const ::core::ffi::c_char,
        value: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_cluster_fsid(
        cluster: rados_t,
        buf: *mut ::core::ffi::c_char,
        len: usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_ioctx_create(
        cluster: rados_t,
        pool_name: *const ::core::ffi::c_char,
        ioctx: *mut rados_ioctx_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_ioctx_create2(
        cluster: rados_t,
        pool_id: i64,
        ioctx: *mut rados_ioctx_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_ioctx_destroy(io: rados_ioctx_t);
}
unsafe extern "C" {
    pub fn rados_ioctx_get_id(io: rados_ioctx_t) -> i64;
}
unsafe extern "C" {
    pub fn rados_ioctx_set_namespace(io: rados_ioctx_t, nspace: *const ::core::ffi::c_char);
}
unsafe extern "C" {
    pub fn rados_nobjects_list_open(
        io: rados_ioctx_t,
        ctx: *mut rados_list_ctx_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_nobjects_list_next(
        ctx: rados_list_ctx_t,
        entry: *mut *const ::core::ffi::c_char,
        key: *mut *const ::core::ffi::c_char,
        nspace: *mut *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_nobjects_list_close(ctx: rados_list_ctx_t);
}
unsafe extern "C" {
    pub fn rados_ioctx_snap_set_read(io: rados_ioctx_t, snap: rados_snap_t);
}
unsafe extern "C" {
    pub fn rados_read(
        io: rados_ioctx_t,
        oid: *const ::core::ffi::c_char,
        buf: *mut ::core::ffi::c_char,
        len: usize,
        off: u64,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_remove(io: rados_ioctx_t, oid: *const ::core::ffi::c_char) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_stat(
        io: rados_ioctx_t,
        o: *const ::core::ffi::c_char,
        psize: *mut u64,
        pmtime: *mut time_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rados_create_write_op() -> rados_write_op_t;
}
unsafe extern "C" {
    pub fn rados_release_write_op(write_op: rados_write_op_t);
}
unsafe extern "C" {
    pub fn rados_write_op_create(
        write_op: rados_write_op_t,
        exclusive: ::core::ffi::c_int,
        category: *const ::core::ffi::c_char,
    );
}
unsafe extern "C" {
    pub fn rados_write_op_write_full(
        write_op: rados_write_op_t,
        buffer: *const ::core::ffi::c_char,
        len: usize,
    );
}
unsafe extern "C" {
    pub fn rados_write_op_operate(
        write_op: rados_write_op_t,
        io: rados_ioctx_t,
        oid: *const ::core::ffi::c_char,
        mtime: *mut time_t,
        flags: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int;
}
pub type rbd_image_t = *mut ::core::ffi::c_void;
pub type rbd_image_options_t = *mut ::core::ffi::c_void;
pub type rbd_completion_t = *mut ::core::ffi::c_void;
pub type rbd_callback_t = ::core::option::Option<
    unsafe extern "C" fn(cb: rbd_completion_t, arg: *mut ::core::ffi::c_void),
>;
pub type librbd_progress_fn_t = ::core::option::Option<
    unsafe extern "C" fn(
        offset: u64,
        total: u64,
        ptr: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int,
>;
pub const RBD_SNAP_NAMESPACE_TYPE_USER: rbd_snap_namespace_type_t = 0;
pub const RBD_SNAP_NAMESPACE_TYPE_GROUP: rbd_snap_namespace_type_t = 1;
pub const RBD_SNAP_NAMESPACE_TYPE_TRASH: rbd_snap_namespace_type_t = 2;
pub const RBD_SNAP_NAMESPACE_TYPE_MIRROR: rbd_snap_namespace_type_t = 3;
pub type rbd_snap_namespace_type_t = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_image_spec_t {
    pub id: *mut ::core::ffi::c_char,
    pub name: *mut ::core::ffi::c_char,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_linked_image_spec_t {
    pub pool_id: i64,
    pub pool_name: *mut ::core::ffi::c_char,
    pub pool_namespace: *mut ::core::ffi::c_char,
    pub image_id: *mut ::core::ffi::c_char,
    pub image_name: *mut ::core::ffi::c_char,
    pub trash: bool,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_snap_spec_t {
    pub id: u64,
    pub namespace_type: rbd_snap_namespace_type_t,
    pub name: *mut ::core::ffi::c_char,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_snap_info_t {
    pub id: u64,
    pub size: u64,
    pub name: *const ::core::ffi::c_char,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_image_info_t {
    pub size: u64,
    pub obj_size: u64,
    pub num_objs: u64,
    pub order: ::core::ffi::c_int,
    pub block_name_prefix: [::core::ffi::c_char; 24usize],
    pub parent_pool: i64,
    pub parent_name: [::core::ffi::c_char; 96usize],
}
pub const RBD_LOCK_MODE_EXCLUSIVE: rbd_lock_mode_t = 0;
pub const RBD_LOCK_MODE_SHARED: rbd_lock_mode_t = 1;
pub type rbd_lock_mode_t = ::core::ffi::c_uint;
pub const RBD_IMAGE_OPTION_FORMAT: _bindgen_ty_15 = 0;
pub const RBD_IMAGE_OPTION_FEATURES: _bindgen_ty_15 = 1;
pub const RBD_IMAGE_OPTION_ORDER: _bindgen_ty_15 = 2;
pub const RBD_IMAGE_OPTION_STRIPE_UNIT: _bindgen_ty_15 = 3;
pub const RBD_IMAGE_OPTION_STRIPE_COUNT: _bindgen_ty_15 = 4;
pub const RBD_IMAGE_OPTION_JOURNAL_ORDER: _bindgen_ty_15 = 5;
pub const RBD_IMAGE_OPTION_JOURNAL_SPLAY_WIDTH: _bindgen_ty_15 = 6;
pub const RBD_IMAGE_OPTION_JOURNAL_POOL: _bindgen_ty_15 = 7;
pub const RBD_IMAGE_OPTION_FEATURES_SET: _bindgen_ty_15 = 8;
pub const RBD_IMAGE_OPTION_FEATURES_CLEAR: _bindgen_ty_15 = 9;
pub const RBD_IMAGE_OPTION_DATA_POOL: _bindgen_ty_15 = 10;
pub const RBD_IMAGE_OPTION_FLATTEN: _bindgen_ty_15 = 11;
pub const RBD_IMAGE_OPTION_CLONE_FORMAT: _bindgen_ty_15 = 12;
pub const RBD_IMAGE_OPTION_MIRROR_IMAGE_MODE: _bindgen_ty_15 = 13;
pub type _bindgen_ty_15 = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_image_watcher_t {
    pub addr: *mut ::core::ffi::c_char,
    pub id: i64,
    pub cookie: u64,
}
unsafe extern "C" {
    pub fn rbd_image_options_create(opts: *mut rbd_image_options_t);
}
unsafe extern "C" {
    pub fn rbd_image_options_destroy(opts: rbd_image_options_t);
}
unsafe extern "C" {
    pub fn rbd_image_options_set_string(
        opts: rbd_image_options_t,
        optname: ::core::ffi::c_int,
        optval: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_image_options_set_uint64(
        opts: rbd_image_options_t,
        optname: ::core::ffi::c_int,
        optval: u64,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_image_spec_list_cleanup(images: *mut rbd_image_spec_t, num_images: usize);
}
unsafe extern "C" {
    pub fn rbd_linked_image_spec_cleanup(image: *mut rbd_linked_image_spec_t);
}
unsafe extern "C" {
    pub fn rbd_snap_spec_cleanup(snap: *mut rbd_snap_spec_t);
}
unsafe extern "C" {
    pub fn rbd_list2(
        io: rados_ioctx_t,
        images: *mut rbd_image_spec_t,
        max_images: *mut usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_create4(
        io: rados_ioctx_t,
        name: *const ::core::ffi::c_char,
        size: u64,
        opts: rbd_image_options_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_clone3(
        p_ioctx: rados_ioctx_t,
        p_name: *const ::core::ffi::c_char,
        p_snapname: *const ::core::ffi::c_char,
        c_ioctx: rados_ioctx_t,
        c_name: *const ::core::ffi::c_char,
        c_opts: rbd_image_options_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_remove_with_progress(
        io: rados_ioctx_t,
        name: *const ::core::ffi::c_char,
        cb: librbd_progress_fn_t,
        cbdata: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_rename(
        src_io_ctx: rados_ioctx_t,
        srcname: *const ::core::ffi::c_char,
        destname: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_open(
        io: rados_ioctx_t,
        name: *const ::core::ffi::c_char,
        image: *mut rbd_image_t,
        snap_name: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_open_read_only(
        io: rados_ioctx_t,
        name: *const ::core::ffi::c_char,
        image: *mut rbd_image_t,
        snap_name: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_close(image: rbd_image_t) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_resize2(
        image: rbd_image_t,
        size: u64,
        allow_shrink: bool,
        cb: librbd_progress_fn_t,
        cbdata: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_stat(
        image: rbd_image_t,
        info: *mut rbd_image_info_t,
        infosize: usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_size(image: rbd_image_t, size: *mut u64) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_features(image: rbd_image_t, features: *mut u64) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_stripe_unit(image: rbd_image_t, stripe_unit: *mut u64) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_stripe_count(image: rbd_image_t, stripe_count: *mut u64) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_modify_timestamp(
        image: rbd_image_t,
        timestamp: *mut timespec,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_overlap(image: rbd_image_t, overlap: *mut u64) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_id(
        image: rbd_image_t,
        id: *mut ::core::ffi::c_char,
        id_len: usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_block_name_prefix(
        image: rbd_image_t,
        prefix: *mut ::core::ffi::c_char,
        prefix_len: usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_data_pool_id(image: rbd_image_t) -> i64;
}
unsafe extern "C" {
    pub fn rbd_get_parent(
        image: rbd_image_t,
        parent_image: *mut rbd_linked_image_spec_t,
        parent_snap: *mut rbd_snap_spec_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_get_flags(image: rbd_image_t, flags: *mut u64) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_lock_acquire(image: rbd_image_t, lock_mode: rbd_lock_mode_t) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_lock_release(image: rbd_image_t) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_lock_get_owners(
        image: rbd_image_t,
        lock_mode: *mut rbd_lock_mode_t,
        lock_owners: *mut *mut ::core::ffi::c_char,
        max_lock_owners: *mut usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_lock_get_owners_cleanup(
        lock_owners: *mut *mut ::core::ffi::c_char,
        lock_owner_count: usize,
    );
}
unsafe extern "C" {
    pub fn rbd_snap_list(
        image: rbd_image_t,
        snaps: *mut rbd_snap_info_t,
        max_snaps: *mut ::core::ffi::c_int,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_list_end(snaps: *mut rbd_snap_info_t);
}
unsafe extern "C" {
    pub fn rbd_snap_create2(
        image: rbd_image_t,
        snap_name: *const ::core::ffi::c_char,
        flags: u32,
        cb: librbd_progress_fn_t,
        cbdata: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_remove2(
        image: rbd_image_t,
        snap_name: *const ::core::ffi::c_char,
        flags: u32,
        cb: librbd_progress_fn_t,
        cbdata: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_rollback(
        image: rbd_image_t,
        snapname: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_protect(
        image: rbd_image_t,
        snap_name: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_unprotect(
        image: rbd_image_t,
        snap_name: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_is_protected(
        image: rbd_image_t,
        snap_name: *const ::core::ffi::c_char,
        is_protected: *mut ::core::ffi::c_int,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_get_timestamp(
        image: rbd_image_t,
        snap_id: u64,
        timestamp: *mut timespec,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_get_id(
        image: rbd_image_t,
        snapname: *const ::core::ffi::c_char,
        snap_id: *mut u64,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_snap_get_namespace_type(
        image: rbd_image_t,
        snap_id: u64,
        namespace_type: *mut rbd_snap_namespace_type_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_flatten_with_progress(
        image: rbd_image_t,
        cb: librbd_progress_fn_t,
        cbdata: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_diff_iterate2(
        image: rbd_image_t,
        fromsnapname: *const ::core::ffi::c_char,
        ofs: u64,
        len: u64,
        include_parent: u8,
        whole_object: u8,
        cb: ::core::option::Option<
            unsafe extern "C" fn(
                arg1: u64,
                arg2: usize,
                arg3: ::core::ffi::c_int,
                arg4: *mut ::core::ffi::c_void,
            ) -> ::core::ffi::c_int,
        >,
        arg: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_aio_write2(
        image: rbd_image_t,
        off: u64,
        len: usize,
        buf: *const ::core::ffi::c_char,
        c: rbd_completion_t,
        op_flags: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_aio_read2(
        image: rbd_image_t,
        off: u64,
        len: usize,
        buf: *mut ::core::ffi::c_char,
        c: rbd_completion_t,
        op_flags: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_aio_discard(
        image: rbd_image_t,
        off: u64,
        len: u64,
        c: rbd_completion_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_aio_write_zeroes(
        image: rbd_image_t,
        off: u64,
        len: usize,
        c: rbd_completion_t,
        zero_flags: ::core::ffi::c_int,
        op_flags: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_aio_create_completion(
        cb_arg: *mut ::core::ffi::c_void,
        complete_cb: rbd_callback_t,
        c: *mut rbd_completion_t,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_aio_get_return_value(c: rbd_completion_t) -> isize;
}
unsafe extern "C" {
    pub fn rbd_aio_release(c: rbd_completion_t);
}
unsafe extern "C" {
    pub fn rbd_aio_flush(image: rbd_image_t, c: rbd_completion_t) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_metadata_get(
        image: rbd_image_t,
        key: *const ::core::ffi::c_char,
        value: *mut ::core::ffi::c_char,
        val_len: *mut usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_metadata_set(
        image: rbd_image_t,
        key: *const ::core::ffi::c_char,
        value: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_metadata_remove(
        image: rbd_image_t,
        key: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_metadata_list(
        image: rbd_image_t,
        start: *const ::core::ffi::c_char,
        max: u64,
        keys: *mut ::core::ffi::c_char,
        key_len: *mut usize,
        values: *mut ::core::ffi::c_char,
        vals_len: *mut usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_watchers_list(
        image: rbd_image_t,
        watchers: *mut rbd_image_watcher_t,
        max_watchers: *mut usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn rbd_watchers_list_cleanup(watchers: *mut rbd_image_watcher_t, num_watchers: usize);
}
