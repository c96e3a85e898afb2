// Package image makes and keeps the images that units run in, without a daemon.
//
// In goes a [Recipe]: a base image, a locked Python environment, the unit's code,
// programs of Tenon. Out comes an image in which each of these is a layer of its
// own. Equal recipes give equal digests, and a change of one part changes its
// layer only. A [Store] also resolves names, fetches and pushes images, and
// imports archives:
//
//	base         as it is at the registry, or was imported
//	environment  /opt/tenon/env, see [EnvDir]
//	tenon        /tenon/bin/tenon, see [TenonPath]
//	duck         /tenon/bin/tenon-duck, see [DuckPath]
//	pod          /tenon/bin/tenon-pod, see [PodPath]
//	code         /tenon/code, see [CodeDir]: what changes most comes last
//
// A store is a folder, an OCI image layout with more beside it:
//
//	oci-layout, index.json, blobs/  images that were imported or fetched, what names stand for, layers that were made
//	found/KEY.json                  what was found out before: the layer that a key stands for, the interpreters of a base
//	work/NAME                       what is being made or fetched, and NAME.lock, held by who does it
//	python/                         which interpreter compiles modules, see executors/pyenv
//
// All of it is a cache, except for what was imported: it may be deleted when
// nothing runs, and nothing is ever cleaned up. Secrets are not kept in it.
//
// The package runs no container and unpacks no image; executors do. It does not
// run what is in a base: modules are compiled by an interpreter of this machine.
package image
