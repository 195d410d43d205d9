"""The store: published files, downloaded, verified, kept under the hash of their bytes.

Doors, for the rooms above: `store` (Store, open_store), `names` (a name becomes an entry, an entry a file),
`fetching_many` (several models side by side), `local` (LocalModel), `upkeep` and `bundles`.

From the ground up; a file imports only what is above it in this list:

    settings           the limits of a fetch
    local, remote      the values that leave and enter the room
    trust/             what may be opened, and what its bytes must be: addresses, hashes, lock files
    disk/              the files of $ZOO_HOME: blobs, records, partial files, locks, space
    contents           what lies in the user's own folder and in shared ones
    network/           one URL becomes one verified partial file
    sources/           what a URL of a registry stands for; one file per scheme
    fetching           one model comes into the store
    store              fetch, remove, derive
    names              the registry and the store of the environment
    fetching_many      several models side by side
    upkeep/            verify, prune, take stock, ask the sources
    bundles/           models and runs as one file, for machines without a network
"""
