// Package bundle is the format of a service that runs on a machine without Tenon: a folder
// with the program, the model, the tables and rows of training that prove it.
//
//	tenon-serve      the program, for one platform
//	serve            a script that starts it
//	service.json     a step.Step whose paths are relative to the folder
//	selftest.json    requests, and the features and predictions of training for them
//	model/ ...       inputs of the service
//	manifest.json    a [Manifest]: the digests of all other files
//	manifest.sig     its signature, if the bundle is signed
//
// Equal services give equal bytes: nothing in a bundle depends on the time or on the machine
// that wrote it. The digest of a bundle is that of its manifest.
//
// A channel is a folder, or its copy on a web server, from which machines get new bundles:
//
//	latest/OS_ARCH.json    names the newest bundle of a platform, and is signed
//	manifests/DIGEST.json  with DIGEST.sig
//	files/DIGEST           the files of all bundles
//
// [Publish] adds a bundle to a channel. [Pull] brings the newest one to a folder of this
// machine. The package starts no service and reads no model: its callers do.
package bundle
