//! Declares what is computed: each value once, with everything that is to be known of it.

/// From one line a value, this makes its `Key` and stage, its `Value`, how
/// it is read, and how it is derived.
///
/// `view`: what the mesh's `View` reads, by the method after `as`. `own`: what only the engine reads. `resources`: what
/// proxies are sent, under the type and name that are given. The number is the stage: a key reads keys of earlier stages
/// only. The two words at the top name the view and the list for diagnostics inside of the expressions.
macro_rules! computed {
    (
        |$view:ident, $notes:ident|
        view {$(
            $(#[$vdoc:meta])*
            $vstage:literal $vname:ident($($varg:ident: $varg_type:ty),*) -> $vtype:ty, as $vread:ident
                = $vderive:expr;
        )*}
        own {$(
            $(#[$odoc:meta])*
            $ostage:literal $oname:ident($($oarg:ident: $oarg_type:ty),*) -> $otype:ty, as $oread:ident
                = $oderive:expr;
        )*}
        resources {$(
            $(#[$rdoc:meta])*
            $rstage:literal $rname:ident($($rarg:ident: $rarg_type:ty),*) named $rres:ident $rres_name:expr
                => $rderive:expr;
        )*}
    ) => {
        /// One thing to compute.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub(crate) enum Key {
            $($(#[$vdoc])* $vname($($varg_type),*),)*
            $($(#[$odoc])* $oname($($oarg_type),*),)*
            $($(#[$rdoc])* $rname($($rarg_type),*),)*
        }

        /// What a key comes to.
        #[derive(Clone, PartialEq, Debug)]
        pub(crate) enum Value {
            $($vname($vtype),)*
            $($oname($otype),)*
            /// Any resource.
            Resource(Option<Arc<Resource>>),
        }

        impl Key {
            /// The stage, for the order of computation.
            pub(crate) fn stage(&self) -> u8 {
                match self {
                    $(Key::$vname(..) => $vstage,)*
                    $(Key::$oname(..) => $ostage,)*
                    $(Key::$rname(..) => $rstage,)*
                }
            }

            /// The name of the kind of key, for metrics.
            pub(crate) fn kind(&self) -> &'static str {
                match self {
                    $(Key::$vname(..) => stringify!($vname),)*
                    $(Key::$oname(..) => stringify!($oname),)*
                    $(Key::$rname(..) => stringify!($rname),)*
                }
            }

            /// The type and name of the resource that this key computes; `None` for every other key.
            #[allow(unused_variables, reason = "a name need not depend on all of the key")]
            pub(crate) fn resource_name(&self) -> Option<(ResourceType, Arc<str>)> {
                match self {
                    $(Key::$rname($($rarg),*) => Some((ResourceType::$rres, $rres_name)),)*
                    _ => None,
                }
            }
        }

        impl umbra_mesh::View for EngineView<'_, '_> {$(
            fn $vread(&self, $($varg: &$varg_type),*) -> $vtype {
                match &*self.0.derived(&Key::$vname($($varg.clone()),*)) {
                    Value::$vname(value) => value.clone(),
                    other => unreachable!("{} came to {other:?}", stringify!($vname)),
                }
            }
        )*}

        impl EngineView<'_, '_> {$(
            #[allow(dead_code, reason = "some of the engine's own values are only demanded, not read")]
            pub(crate) fn $oread(&self, $($oarg: &$oarg_type),*) -> $otype {
                match &*self.0.derived(&Key::$oname($($oarg.clone()),*)) {
                    Value::$oname(value) => value.clone(),
                    other => unreachable!("{} came to {other:?}", stringify!($oname)),
                }
            }
        )*}

        fn derive(key: &Key, $view: &EngineView<'_, '_>) -> (Value, Vec<Diagnostic>) {
            let mut $notes = Vec::new();
            let value = match key {
                $(Key::$vname($($varg),*) => Value::$vname($vderive),)*
                $(Key::$oname($($oarg),*) => Value::$oname($oderive),)*
                $(Key::$rname($($rarg),*) => Value::Resource(resource(ResourceType::$rres, $rderive)),)*
            };
            (value, $notes)
        }
    };
}

pub(crate) use computed;
