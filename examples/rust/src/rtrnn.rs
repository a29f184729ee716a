//! The part of rtrnn.h that this program needs, with owners that free what they hold.
use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr;

#[allow(non_camel_case_types)]
type rtrnn_status = i32;

#[link(name = "rtrnn")]
extern "C" {
    fn rtrnn_last_error() -> *const c_char;
    fn rtrnn_status_text(status: rtrnn_status) -> *const c_char;
    fn rtrnn_plan_load(path: *const c_char, options: *const c_void, plan: *mut *mut c_void) -> rtrnn_status;
    fn rtrnn_plan_free(plan: *mut c_void) -> rtrnn_status;
    fn rtrnn_plan_port_count(plan: *const c_void, port: i32) -> usize;
    fn rtrnn_plan_port_size(plan: *const c_void, port: i32, i: usize) -> usize;
    fn rtrnn_stream_create(plan: *const c_void, on_nonfinite: i32, stream: *mut *mut c_void) -> rtrnn_status;
    fn rtrnn_stream_free(stream: *mut c_void) -> rtrnn_status;
    fn rtrnn_stream_step_copy(stream: *mut c_void, x: *const f32, x_size: usize, y: *mut f32, y_size: usize) -> rtrnn_status;
    fn rtrnn_stream_prepare(stream: *mut c_void) -> rtrnn_status;
}

fn text(address: *const c_char) -> String {
    // Never NULL from the two functions it is used on.
    unsafe { CStr::from_ptr(address) }.to_string_lossy().into_owned()
}

fn made(status: rtrnn_status) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(text(unsafe { rtrnn_last_error() })) }
}

pub struct Plan(*mut c_void);

impl Plan {
    pub fn load(path: &str) -> Result<Plan, String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        let mut plan = ptr::null_mut();
        made(unsafe { rtrnn_plan_load(path.as_ptr(), ptr::null(), &mut plan) })?;
        Ok(Plan(plan))
    }

    fn size(&self, port: i32) -> usize {
        unsafe { (0..rtrnn_plan_port_count(self.0, port)).map(|i| rtrnn_plan_port_size(self.0, port, i)).sum() }
    }
    pub fn input_size(&self) -> usize { self.size(0) }
    pub fn output_size(&self) -> usize { self.size(1) }
}

impl Drop for Plan {
    fn drop(&mut self) { unsafe { rtrnn_plan_free(self.0) }; }
}

pub struct Stream(*mut c_void);

impl Stream {
    pub fn new(plan: &Plan) -> Result<Stream, String> {
        let mut stream = ptr::null_mut();
        made(unsafe { rtrnn_stream_create(plan.0, 0, &mut stream) })?;
        Ok(Stream(stream))
    }

    /// One timestep; sizes other than the network's are refused. Real-time safe unless it fails.
    pub fn step(&mut self, x: &[f32], y: &mut [f32]) -> Result<(), String> {
        let status = unsafe { rtrnn_stream_step_copy(self.0, x.as_ptr(), x.len(), y.as_mut_ptr(), y.len()) };
        if status <= 1 { Ok(()) } else { Err(text(unsafe { rtrnn_status_text(status) })) }
    }

    pub fn prepare(&mut self) { unsafe { rtrnn_stream_prepare(self.0) }; }
}

impl Drop for Stream {
    fn drop(&mut self) { unsafe { rtrnn_stream_free(self.0) }; }
}
