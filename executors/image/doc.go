// Package image builds and stores the images that units run in, without a daemon.
//
// The input is a [Recipe]: a base image, a locked Python environment, the unit's code
// and programs of Tenon. The output is an image with one layer for each of them. Equal
// recipes give equal digests, and a change of one part changes only its layer. A
// [Store] also resolves names, fetches and pushes images, and imports archives:
//
//	base         as fetched from the registry or imported
//	environment  /opt/tenon/env, see [EnvDir], and one layer for each further environment
//	tenon        /tenon/bin/tenon, see [TenonPath]
//	duck         /tenon/bin/tenon-duck, see [DuckPath]
//	pod          /tenon/bin/tenon-pod, see podPath
//	code         /tenon/code, see [CodeDir]: last, because it changes most often
//
// A store is a folder. It is an OCI image layout with additional files:
//
//	oci-layout, index.json, blobs/  imported and fetched images, resolved names, layers that were built
//	found/KEY.json                  cached facts: the layer of a key, the interpreters of a base
//	work/NAME                       work in progress, with NAME.lock held by the process that does it
//	python/                         the interpreter that compiles modules, see executors/pyenv
//
// All of it is a cache, except for imported images. It may be deleted when nothing
// runs, and nothing cleans it up. It holds no secrets.
//
// The package runs no container and unpacks no image; executors do that. It runs
// nothing from a base: an interpreter of this machine compiles the modules.
package image
