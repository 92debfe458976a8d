#!/usr/bin/env python3
"""Invented worlds for the reader: names, relations, wordings, passages, questions, and the tokenizer.

Everything is made up. An entity has a type (town, book, ...) and a type has relations (founded, mayor, ...). Each relation
has several wordings of the fact and of the question. A wording that begins with "!" is held out: it is used only when a
world is asked for unseen wordings. A name whose crc32 is 0 modulo 8 is reserved: it is used only in held-out worlds, so
every full name of a held-out world is new to the model.

    python worlds.py show --seed 7 --passages 5           # print a few prompts
    python worlds.py tokenizer --out tokenizer.json       # build the tokenizer
    python worlds.py quickstart --out ../../../data/quickstart
    python worlds.py heldout --out heldout                # the four held-out sets
"""
import argparse
import json
import os
import random
import re
import zlib

UNKNOWN = "unknown"

# ----------------------------------------------------------------------------- words names are made of
# A syllable is one token, so a name is two tokens: matching an entity is matching tokens, not spelling.
HEADS = ("Bal Ban Bar Bel Ben Ber Bor Bran Bren Cal Cam Can Car Cas Cor Dal Dan Dar Del Den Der Dor Dra Dun El Em Er Fal Fan "
         "Far Fel Fen Fer Fin For Gal Gan Gar Gel Gor Gra Gren Hal Han Har Hel Hen Hol Hor Il Jal Jan Jar Jel Jor Kal Kan "
         "Kar Kel Ken Ker Kor Kra Lan Lar Len Ler Lin Lor Lum Mal Man Mar Mel Mer Mil Min Mor Nal Nan Nar Nel Nen Ner Nor Ol "
         "Or Os Pal Pan Par Pel Pen Per Pol Por Quin Ral Ran Ras Rel Ren Ris Rol Ros Sal San Sar Sel Sen Ser Sil Sol Sor Tal "
         "Tan Tar Tel Ten Ter Thal Tor Tra Ul Um Val Van Var Vel Ven Ver Vin Vol Vor Wal Wan War Wel Wen Wil Wor Yal Yan Yor "
         "Zal Zan Zar Zel Zen Zor").split()
TAILS = ("bach bado bara beck bera bina bo bola bona bora bridge by cade cara cot da dale dan dara del den dera din do dola don dora "
         "fara feld fin ford gan gara gate go gora grad ham hara heim hold hurst ka kara ken kin ko kora la lan lara ley lin lis "
         "lo lora low ma mara mere mina mir mo mond mora mouth na nara nell ner nia nis no nora nova ra rada rak ran rik rin ris "
         "ro rona roth ry sa sara sel sen sey sia sin so sol sora stad sten ta tal tara ten tera thal tin tis to ton tora tun va "
         "vale van vara vek vera vik vin vo vora wald ward wen wick win worth ya yara yin yo za zan zara zeth zin zo zora").split()
FIRST = ("Ada Adam Agnes Albert Alma Amos Anna Anton Arthur Astrid Basil Beatrix Boris Bruno Carla Cecil Celia Clara Conrad Cora "
         "Daisy Daniel Dora Edgar Edith Edmund Elias Elsa Emil Erik Esther Eva Fanny Felix Flora Frida Gerda Gilbert Greta Gustav "
         "Hanna Harold Hector Helga Hilda Hugo Ida Igor Ilse Ingrid Irma Isaac Ivan Jacob Jasper Joan Jonas Judith Julia Karl "
         "Katya Klaus Lars Laura Leo Lena Lewis Linda Lotte Lucas Luisa Magda Marcus Marta Martin Maud Max Mona Nadia Nina Nora "
         "Olga Oscar Otto Paula Percy Petra Philip Quentin Ralph Rita Robert Rosa Rudolf Ruth Samuel Sigrid Simon Sonja Stella "
         "Sven Tamara Thea Theo Thomas Tilda Ursula Vera Victor Viola Walter Wanda Wilma Xenia Yvonne Zelda").split()
FEMALE = {x for x in FIRST if x.endswith("a")} | set("Agnes Astrid Beatrix Daisy Edith Esther Fanny Ilse Ingrid Joan Judith Lotte Maud Ruth Sigrid Yvonne".split())
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
JOBS = ("baker carpenter surgeon painter glassblower teacher librarian blacksmith printer gardener sailor lawyer tailor chemist "
        "farmer poet dentist mason potter clockmaker beekeeper judge pilot cook").split()
INSTRUMENTS = "violin flute harp cello trumpet piano drum lute guitar clarinet banjo viola bassoon fiddle zither tuba".split()
GOODS = ("cheese lace pottery honey glass clocks bells paper rope salt silk wool carpets candles boots knives tiles lamps bicycles "
         "kettles umbrellas pencils violins mirrors barrels hats soap tea ink buttons").split()
GENRES = "mystery comedy romance tragedy thriller fable satire biography western fantasy".split()
COLOURS = "red blue green yellow orange purple black white grey brown crimson silver golden violet".split()
MATERIALS = "oak walnut brass copper marble granite cedar bronze ivory pine maple steel".split()
ADJ = ("Silver Broken Silent Hidden Golden Last Burning Frozen Crooked Hollow Painted Distant Forgotten Narrow Winter Summer Iron "
       "Paper Glass Midnight Scarlet Lonely Restless Ancient").split()
NOUN = ("Lantern Bridge Garden Mirror Key Tower Harbour Crown Letter Window Road Clock Feather Island Door Orchard Storm Ladder "
        "River Candle Forest Compass Anchor Stair").split()


def reserved(word):
    """A reserved word is for held-out worlds only."""
    return zlib.crc32(word.encode()) % 8 == 0


class Names:
    """Makes names and values. `single` is the chance that an invented word is one token (the warm-up of the curriculum)."""

    def __init__(self, rng, held_out):
        self.r, self.held, self.single = rng, held_out, 0.0

    def word(self):
        r = self.r
        if self.single and r.random() < self.single:
            return r.choice(HEADS)
        while True:
            w = r.choice(HEADS) + r.choice(TAILS)
            if reserved(w) == self.held:
                return w

    def person(self):
        return self.r.choice(FIRST) + " " + self.word()

    def book(self):
        r = self.r
        if r.random() < 0.4:
            return f"{self.word()}'s {r.choice(NOUN)}"
        while True:
            w = f"The {r.choice(ADJ)} {r.choice(NOUN)}"
            if reserved(w) == self.held:
                return w


def word_plus(*kinds):
    return lambda N: N.word() + " " + N.r.choice(kinds)


def one_of(words):
    return lambda N: N.r.choice(words)


name = lambda N: N.word()
person = lambda N: N.person()
year = lambda N: str(N.r.randint(1500, 1999))
count = lambda N: str(N.r.randint(11, 99) if N.r.random() < 0.5 else N.r.randint(100, 999))
people = lambda N: str(N.r.randint(2000, 99999))
pages = lambda N: str(N.r.randint(60, 990))
km = lambda N: f"{N.r.randint(12, 990)} km"
metres = lambda N: f"{N.r.randint(20, 390)} metres"
height = lambda N: f"{N.r.randint(800, 6900)} metres"
date = lambda N: f"{N.r.randint(1, 28)} {N.r.choice(MONTHS)}"

# ----------------------------------------------------------------------------- types, relations, wordings
# type: maker of the name, ways to refer to it, class noun (None for a person), opening sentences, relations.
# relation: maker of the value, wordings of the fact, wordings of the question.
# {e} subject, may become "it" or "the town"; {es} its possessive; {E} always the name; {v} the value; {n} name, {ns} possessive.
WORLD = {
    "person": (person, ["{}"], None,
        ["{E} led a quiet life.", "{E} is a well known figure.", "{E} is remembered to this day.", "{E} never liked to travel."], {
        "birth_year": (year,
            ["{e} was born in {v}.", "{es} year of birth is {v}.", "{e} was born in the year {v}.", "The birth of {E} was in {v}.",
             "{e} came into the world in {v}.", "{es} birth year is {v}.", "{e} has been alive since {v}.",
             "!{e} saw the light of day in the year {v}.", "!The year in which {E} was born is {v}."],
            ["In which year was {n} born?", "When was {n} born?", "What is the birth year of {n}?", "What year was {n} born?",
             "What is the year of birth of {n}?", "In what year was {n} born?", "!What is {ns} year of birth?", "!When did {n} come into the world?"]),
        "birthplace": (name,
            ["{e} was born in the town of {v}.", "{e} comes from {v}.", "{es} home town is {v}.", "{e} grew up in {v}.",
             "The home town of {E} is {v}.", "{e} spent a happy childhood in {v}.", "{es} birthplace is {v}.",
             "!{e} is a native of {v}.", "!The family of {E} had a small house in {v}."],
            ["Where was {n} born?", "Which town does {n} come from?", "What is the home town of {n}?", "Where did {n} grow up?",
             "In which town did {n} grow up?", "What is the birthplace of {n}?", "!What is {ns} home town?", "!From where does {n} come?"]),
        "job": (one_of(JOBS),
            ["{e} works as a {v}.", "{e} is a {v} by trade.", "{es} profession is {v}.", "{e} earns a living as a {v}.",
             "The profession of {E} is {v}.", "{e} found work as a {v}.", "{es} job is that of a {v}.",
             "!{e} was trained as a {v}.", "!For many years {E} worked as a {v}."],
            ["What is the profession of {n}?", "What does {n} do for a living?", "What is the job of {n}?", "What does {n} work as?",
             "Which profession does {n} have?", "What is the trade of {n}?", "!What is {ns} job?", "!How does {n} earn a living?"]),
        "plays": (one_of(INSTRUMENTS),
            ["{e} plays the {v}.", "{es} favourite instrument is the {v}.", "{e} learned to play the {v}.", "{e} likes to play the {v}.",
             "The instrument of {E} is the {v}.", "{e} can be heard playing the {v}.", "{es} instrument is the {v}.",
             "!On Sundays {E} practises the {v}.", "!{e} became a master of the {v}."],
            ["Which instrument does {n} play?", "What instrument does {n} play?", "What is the instrument of {n}?", "Which instrument did {n} learn to play?",
             "What is the favourite instrument of {n}?", "What does {n} like to play?", "!What is {ns} instrument?", "!What instrument is played by {n}?"]),
        "teacher": (person,
            ["{e} was taught by {v}.", "{es} teacher was {v}.", "{e} studied under {v}.", "The teacher of {E} was {v}.",
             "{e} was a pupil of {v}.", "{e} took lessons from {v}.", "{e} learned the trade from {v}.",
             "!{e} owed every skill to the teacher {v}.", "!The person who taught {E} was {v}."],
            ["Who taught {n}?", "Who was the teacher of {n}?", "Under whom did {n} study?", "From whom did {n} take lessons?",
             "Whose pupil was {n}?", "By whom was {n} taught?", "!Who was {ns} teacher?", "!From whom did {n} learn the trade?"]),
        "spouse": (person,
            ["{e} is married to {v}.", "{e} married {v}.", "{es} spouse is {v}.", "The spouse of {E} is {v}.",
             "{e} shares a house with the spouse {v}.", "{e} has long been married to {v}.", "{es} partner in marriage is {v}.",
             "!{e} found a spouse in {v}.", "!The wedding of {E} was with {v}."],
            ["Who is {n} married to?", "Who is the spouse of {n}?", "Whom did {n} marry?", "To whom is {n} married?",
             "Who married {n}?", "With whom does {n} share a house?", "!Who is {ns} spouse?", "!Who is the partner of {n} in marriage?"]),
    }),
    "town": (name, ["{}", "{}", "the town of {}"], "town",
        ["{E} is a small town in the hills.", "{E} is a quiet town.", "{E} is a town with narrow streets.", "{E} is a town near the coast."], {
        "founded": (year,
            ["{e} was founded in {v}.", "The founding of {E} was in {v}.", "{e} was established in {v}.", "{e} dates back to {v}.",
             "{es} founding year is {v}.", "{e} has existed since its founding in {v}.", "{e} was settled in {v}.",
             "!Settlers founded {E} in the spring of {v}.", "!The first stone of {E} was laid in {v}."],
            ["When was {n} founded?", "In which year was {n} founded?", "What year was {n} established?", "How far back does {n} date?",
             "When was {n} established?", "When was {n} settled?", "!What is the founding year of {n}?", "!When did the founding of {n} take place?"]),
        "population": (people,
            ["{e} has a population of {v}.", "{es} population is {v}.", "The population of {E} is {v}.", "The number of people in {E} is {v}.",
             "The number of inhabitants of {E} is {v}.", "{e} is home to {v} people.", "{e} has {v} inhabitants.",
             "!At the last census {E} counted {v} inhabitants.", "!{v} people live in {E}."],
            ["How many people live in {n}?", "What is the population of {n}?", "How many inhabitants does {n} have?", "What is the number of inhabitants of {n}?",
             "How large is the population of {n}?", "To how many people is {n} home?", "!What is {ns} population?", "!How many people are there in {n}?"]),
        "river": (name,
            ["{e} lies on the river {v}.", "{e} stands on the banks of the river {v}.", "{es} river is the {v}.", "{e} was built beside the river {v}.",
             "The river of {E} is the {v}.", "The river through {E} is the {v}.", "{e} lies where the road meets the river {v}.",
             "!The water of {E} comes from the river {v}.", "!{e} looks down on the river {v}."],
            ["Which river flows through {n}?", "On which river does {n} lie?", "What river is {n} on?", "Beside which river was {n} built?",
             "What is the river of {n}?", "On the banks of which river does {n} stand?", "!What is {ns} river?", "!Which river can be seen from {n}?"]),
        "mayor": (person,
            ["{es} mayor is {v}.", "The mayor of {E} is {v}.", "{e} is led by mayor {v}.", "{e} is governed by {v}.",
             "{e} elected as its mayor {v}.", "{e} has a mayor named {v}.", "The mayor who governs {E} is {v}.",
             "!The people of {E} chose as mayor {v}.", "!The town hall of {E} is the office of mayor {v}."],
            ["Who is the mayor of {n}?", "Who governs {n}?", "Who leads {n} as mayor?", "What is the name of the mayor of {n}?",
             "Who was elected mayor of {n}?", "By whom is {n} governed?", "!Which person is the mayor of {n}?", "!Who is {ns} mayor?"]),
        "known_for": (one_of(GOODS),
            ["{e} is known for its {v}.", "{e} is famous for {v}.", "{e} is best known for its {v}.", "{e} became famous for its {v}.",
             "What made {E} famous is its {v}.", "{e} is known everywhere for {v}.", "{es} fame rests on its {v}.",
             "!{e} owes its fame to {v}.", "!Visitors praise {E} for its {v}."],
            ["What is {n} known for?", "What is {n} famous for?", "For what is {n} best known?", "What made {n} famous?",
             "What did {n} become famous for?", "For what is {n} famous?", "!On what does the fame of {n} rest?", "!What gave {n} its fame?"]),
        "market": (one_of(DAYS),
            ["{e} holds its market every {v}.", "The market day in {E} is {v}.", "{es} market takes place on {v}.", "{es} market day is {v}.",
             "The market of {E} is on {v}.", "{e} has a market each {v}.", "{e} opens its market on {v}.",
             "!Traders come to the market of {E} on {v}.", "!The market in {E} is held on a {v}."],
            ["On which day is the market in {n}?", "When does {n} hold its market?", "What is the market day in {n}?", "On what day is the market of {n}?",
             "On which day does {n} hold its market?", "When is the market of {n}?", "!On what day does {ns} market take place?", "!Which day is market day in {n}?"]),
    }),
    "company": (word_plus("Works", "Brothers", "Mills", "Company", "Industries", "Trading", "Foundry"), ["{}", "{}", "the company {}"], "company",
        ["{E} is a family company.", "{E} is a company with a long history.", "{E} is a company that few people know.", "{E} is an old company."], {
        "founder": (person,
            ["{e} was founded by {v}.", "{es} founder is {v}.", "{e} was started by {v}.", "The founder of {E} is {v}.",
             "{e} was set up by {v}.", "{e} has a founder named {v}.", "{e} owes its founding to {v}.",
             "!The founder of {E} was a certain {v}.", "!{e} began in the shed of its founder {v}."],
            ["Who founded {n}?", "Who is the founder of {n}?", "Who started {n}?", "By whom was {n} founded?", "Who set up {n}?", "By whom was {n} started?",
             "!Which person founded {n}?", "!Who is {ns} founder?"]),
        "seat": (name,
            ["{e} is based in {v}.", "{es} head office is in {v}.", "{e} has its head office in {v}.", "The head office of {E} is in {v}.",
             "{e} has its seat in {v}.", "{e} is run from its head office in {v}.", "{es} seat is in {v}.",
             "!{e} moved its head office to {v}.", "!The managers of {E} sit in {v}."],
            ["Where is {n} based?", "Where is the head office of {n}?", "In which town is {n} based?", "Where does {n} have its head office?",
             "Where is the seat of {n}?", "In which town is the head office of {n}?", "!Where is {ns} head office?", "!In which town does {n} have its seat?"]),
        "makes": (one_of(GOODS),
            ["{e} makes {v}.", "{e} produces {v}.", "{es} main product is {v}.", "{e} manufactures {v}.", "The main product of {E} is {v}.",
             "{e} makes and sells {v}.", "{e} has always produced {v}.", "!{e} exports its {v} to many lands.", "!The workshops of {E} turn out {v}."],
            ["What does {n} make?", "What does {n} produce?", "What is the main product of {n}?", "What does {n} manufacture?", "What does {n} make and sell?",
             "Which product does {n} make?", "!What is manufactured by {n}?", "!What is {ns} main product?"]),
        "staff": (count,
            ["{e} employs {v} people.", "{e} has {v} employees.", "The number of employees at {E} is {v}.", "{e} has a staff of {v}.",
             "{es} staff numbers {v}.", "{e} gives work to {v} people.", "The staff of {E} numbers {v}.",
             "!{e} pays the wages of {v} employees.", "!{v} people work for {E}."],
            ["How many people does {n} employ?", "How many employees does {n} have?", "How many people work for {n}?", "What is the number of employees at {n}?",
             "How large is the staff of {n}?", "How many people are on the staff of {n}?", "!To how many people does {n} give work?", "!How many employees are there at {n}?"]),
    }),
    "river": (name, ["the {}", "the river {}"], "river",
        ["{E} is a slow river.", "{E} is a river with clear water.", "{E} is a river loved by anglers.", "{E} is a river in the north."], {
        "length": (km,
            ["{e} is {v} long.", "{es} length is {v}.", "{e} runs for {v}.", "{e} has a length of {v}.", "The length of {E} is {v}.",
             "{e} reaches a length of {v}.", "{e} winds along for {v}.", "!From end to end {E} measures {v}.", "!{e} covers a distance of {v}."],
            ["How long is {n}?", "What is the length of {n}?", "How far does {n} run?", "What length does {n} have?", "What length does {n} reach?",
             "For how long a way does {n} run?", "!What is {ns} length?", "!What distance does {n} cover?"]),
        "source": (lambda N: "Mount " + N.word(),
            ["{e} rises on {v}.", "{es} source is on {v}.", "The source of {E} is on {v}.", "{e} begins on {v}.", "{e} has its source on {v}.",
             "{e} springs from {v}.", "{e} begins its way on {v}.", "!The first drops of {E} come from {v}.", "!Snow on {v} feeds {E}."],
            ["Where does {n} rise?", "Where is the source of {n}?", "Where does {n} begin?", "On which mountain is the source of {n}?",
             "On which mountain does {n} rise?", "Where does {n} have its source?", "!Where is {ns} source?", "!From which mountain does {n} spring?"]),
        "mouth": (lambda N: "Lake " + N.word(),
            ["{e} flows into {v}.", "{e} empties into {v}.", "{es} mouth is at {v}.", "{e} ends in {v}.", "The mouth of {E} is at {v}.",
             "{e} brings its water to {v}.", "{e} runs down into {v}.", "!The water of {E} is received by {v}.", "!{e} reaches its end at {v}."],
            ["Where does {n} flow into?", "Into which lake does {n} empty?", "Where is the mouth of {n}?", "Where does {n} end?", "Into which lake does {n} flow?",
             "In which lake does {n} end?", "!Where is {ns} mouth?", "!To which lake does {n} bring its water?"]),
        "bridges": (count,
            ["{e} is crossed by {v} bridges.", "The number of bridges over {E} is {v}.", "{e} can be crossed on {v} bridges.", "{e} has {v} bridges.",
             "The bridges over {E} number {v}.", "{es} bridges number {v}.", "{e} flows below {v} bridges.", "!There are {v} bridges over {E}.", "!{e} is spanned by {v} bridges."],
            ["How many bridges cross {n}?", "How many bridges does {n} have?", "How many bridges are there over {n}?", "By how many bridges is {n} crossed?",
             "What is the number of bridges over {n}?", "Below how many bridges does {n} flow?", "!How many bridges span {n}?", "!On how many bridges can {n} be crossed?"]),
    }),
    "book": (lambda N: N.book(), ["{}", "{}", "the book {}", "the novel {}"], "book",
        ["{E} is a book for long evenings.", "{E} is a book that many schools use.", "{E} is a book with a sad ending.", "{E} is a short book."], {
        "author": (person,
            ["{e} was written by {v}.", "{es} author is {v}.", "The author of {E} is {v}.", "{e} is a work by {v}.", "{e} is a book by {v}.",
             "{e} has an author named {v}.", "{e} is the work of {v}.", "!{e} came from the pen of {v}.", "!The name on the cover of {E} is {v}."],
            ["Who wrote {n}?", "Who is the author of {n}?", "By whom was {n} written?", "Whose work is {n}?", "Who was it that wrote {n}?",
             "What is the name of the author of {n}?", "!Which author wrote {n}?", "!Who is {ns} author?"]),
        "published": (year,
            ["{e} was published in {v}.", "{e} first appeared in {v}.", "{es} year of publication is {v}.", "{e} came out in {v}.",
             "The publication of {E} was in {v}.", "{e} was printed in {v}.", "The first edition of {E} came out in {v}.",
             "!Readers could buy {E} from {v}.", "!{e} reached the shops in {v}."],
            ["When was {n} published?", "In which year did {n} come out?", "When did {n} first appear?", "What is the year of publication of {n}?",
             "In which year was {n} published?", "When did {n} come out?", "!When did the first edition of {n} come out?", "!In which year was {n} printed?"]),
        "pages": (pages,
            ["{e} has {v} pages.", "{e} is {v} pages long.", "{es} first edition has {v} pages.", "{e} fills {v} pages.", "The number of pages of {E} is {v}.",
             "{e} runs to {v} pages.", "{es} pages number {v}.", "!{e} tells its story on {v} pages.", "!It takes {v} pages to finish {E}."],
            ["How many pages does {n} have?", "How many pages long is {n}?", "How many pages are in {n}?", "How many pages does {n} fill?",
             "What is the number of pages of {n}?", "To how many pages does {n} run?", "!How many pages are there in {n}?", "!How long, in pages, is {n}?"]),
        "hero": (name,
            ["{es} main character is {v}.", "{e} tells the story of {v}.", "The hero of {E} is called {v}.", "{e} is about a child named {v}.",
             "The main character of {E} is {v}.", "{e} follows the hero {v}.", "{es} hero is {v}.", "!{e} sends its hero {v} on a long journey.", "!The child at the heart of {E} is {v}."],
            ["Who is the main character of {n}?", "Whose story does {n} tell?", "Who is the hero of {n}?", "Who is {n} about?", "What is the hero of {n} called?",
             "What is the name of the main character of {n}?", "!Who is {ns} hero?", "!Which character does {n} follow?"]),
        "genre": (one_of(GENRES),
            ["{e} is a {v}.", "{e} belongs to the genre of {v}.", "{es} genre is {v}.", "{e} is called a {v}.", "The genre of {E} is {v}.",
             "{e} was written as a {v}.", "{e} is best described as a {v}.", "!Critics call {E} a {v}.", "!{e} stands on the shelf marked {v}."],
            ["What genre is {n}?", "To which genre does {n} belong?", "What is the genre of {n}?", "Which genre is {n}?", "As what was {n} written?",
             "Which genre does {n} belong to?", "!What do critics call {n}?", "!What is {ns} genre?"]),
    }),
    "festival": (word_plus("Festival", "Fair", "Parade", "Games"), ["the {}"], "festival",
        ["{E} is a loud festival.", "{E} is a festival for old and young.", "{E} is a festival with music.", "{E} is a festival known for its food."], {
        "place": (name,
            ["{e} takes place in {v}.", "{e} is held in the town of {v}.", "{e} is celebrated in {v}.", "{es} home is {v}.", "{e} is held in {v}.",
             "The place of {E} is {v}.", "{e} fills the streets of {v}.", "!People travel to {v} for {E}.", "!{e} is hosted by the town of {v}."],
            ["Where does {n} take place?", "In which town is {n} held?", "Where is {n} held?", "Where is {n} celebrated?", "In which town does {n} take place?",
             "What is the place of {n}?", "!Which town hosts {n}?", "!The streets of which town does {n} fill?"]),
        "date": (date,
            ["{e} begins on {v}.", "{e} starts each year on {v}.", "{es} opening day is {v}.", "The opening day of {E} is {v}.", "{e} opens on {v}.",
             "{e} starts on {v}.", "The beginning of {E} is on {v}.", "!Each year {E} opens its gates on {v}.", "!{es} first day is {v}."],
            ["When does {n} begin?", "On which date does {n} start?", "What is the opening day of {n}?", "When does {n} start each year?", "On which date does {n} begin?",
             "When does {n} open?", "!What is {ns} opening day?", "!What is the first day of {n}?"]),
        "first": (year,
            ["{e} was first held in {v}.", "The first edition of {E} was in {v}.", "{e} has existed since {v}.", "{e} was celebrated for the first time in {v}.",
             "{es} first edition was in {v}.", "{e} has been held since {v}.", "{e} first took place in {v}.", "!{e} goes back to the year {v}.", "!{e} was invented in {v}."],
            ["When was {n} first held?", "In which year was the first edition of {n}?", "Since when has {n} existed?", "When was {n} celebrated for the first time?",
             "In which year was {n} first held?", "Since when has {n} been held?", "!When did {n} first take place?", "!To which year does {n} go back?"]),
        "visitors": (people,
            ["{e} attracts {v} visitors.", "{e} draws {v} visitors a year.", "The number of visitors at {E} is {v}.", "{e} is seen by {v} visitors.",
             "{es} visitors number {v}.", "{e} has {v} visitors.", "{e} welcomes {v} visitors.", "!{v} visitors come to {E}.", "!Tickets for {E} are sold to {v} visitors."],
            ["How many visitors does {n} attract?", "How many visitors come to {n}?", "How many visitors does {n} draw?", "What is the number of visitors at {n}?",
             "How many visitors does {n} have?", "By how many visitors is {n} seen?", "!How many visitors does {n} welcome?", "!How many people visit {n}?"]),
    }),
    "ship": (name, ["the {}", "the ship {}"], "ship",
        ["{E} is a ship with tall masts.", "{E} is a ship that sailors love.", "{E} is a sturdy ship.", "{E} is a ship with a blue hull."], {
        "captain": (person,
            ["{es} captain is {v}.", "{e} sails under captain {v}.", "The captain of {E} is {v}.", "{e} is commanded by {v}.", "{e} has a captain named {v}.",
             "{e} obeys its captain {v}.", "{e} is under the command of {v}.", "!The crew of {E} follows {v}.", "!On the bridge of {E} stands captain {v}."],
            ["Who is the captain of {n}?", "Who commands {n}?", "Under which captain does {n} sail?", "By whom is {n} commanded?", "What is the name of the captain of {n}?",
             "Under whose command is {n}?", "!Who is {ns} captain?", "!Which captain does {n} obey?"]),
        "built": (year,
            ["{e} was built in {v}.", "{e} was launched in {v}.", "The building of {E} was finished in {v}.", "{e} has been at sea since {v}.",
             "{es} launch was in {v}.", "The launch of {E} was in {v}.", "{e} left the shipyard in {v}.", "!{e} first touched water in {v}.", "!Shipwrights finished {E} in {v}."],
            ["When was {n} built?", "In which year was {n} launched?", "When was {n} launched?", "Since when has {n} been at sea?", "In which year was {n} built?",
             "When was the launch of {n}?", "!When did {n} leave the shipyard?", "!When was the building of {n} finished?"]),
        "port": (name,
            ["{es} home port is {v}.", "{e} sails from the port of {v}.", "The home port of {E} is {v}.", "{e} is registered in {v}.", "{e} has its home port in {v}.",
             "{e} returns each winter to the port of {v}.", "{e} belongs to the port of {v}.", "!{e} flies the flag of the port of {v}.", "!{e} spends the winter in {v}."],
            ["What is the home port of {n}?", "From which port does {n} sail?", "Where is {n} registered?", "Where does {n} have its home port?", "To which port does {n} belong?",
             "Which port is the home port of {n}?", "!What is {ns} home port?", "!To which port does {n} return each winter?"]),
        "cargo": (one_of(GOODS),
            ["{e} carries {v}.", "{es} cargo is {v}.", "The cargo of {E} is {v}.", "{e} is loaded with {v}.", "{e} transports {v}.", "{e} carries a cargo of {v}.",
             "{e} has a hold full of {v}.", "!{e} brings {v} across the sea.", "!In the hold of {E} there is {v}."],
            ["What does {n} carry?", "What is the cargo of {n}?", "With what is {n} loaded?", "What does {n} transport?", "Which cargo does {n} carry?",
             "What cargo does {n} have?", "!What is {ns} cargo?", "!What is in the hold of {n}?"]),
        "size": (metres,
            ["{e} is {v} long.", "{e} measures {v}.", "{es} length is {v}.", "The length of {E} is {v}.", "{e} has a length of {v}.", "{e} is {v} in length.",
             "From bow to stern {E} measures {v}.", "!The deck of {E} stretches for {v}.", "!{e} reaches a length of {v}."],
            ["How long is {n}?", "How much does {n} measure?", "What is the length of {n}?", "What length does {n} have?", "How long is {n} from bow to stern?",
             "How many metres does {n} measure?", "!What is {ns} length?", "!How much is the length of {n}?"]),
    }),
    "mountain": (lambda N: "Mount " + N.word(), ["{}"], "mountain",
        ["{E} is a lonely mountain.", "{E} is a mountain with steep sides.", "{E} is a mountain covered in snow.", "{E} is a mountain seen from far away."], {
        "height": (height,
            ["{e} is {v} high.", "{es} height is {v}.", "{e} rises to {v}.", "The summit of {E} lies at {v}.", "The height of {E} is {v}.", "{e} has a height of {v}.",
             "{e} reaches a height of {v}.", "!{e} towers over the valley at {v}.", "!Maps show {E} at {v}."],
            ["How high is {n}?", "What is the height of {n}?", "How high does {n} rise?", "How high is the summit of {n}?", "What height does {n} have?",
             "What height does {n} reach?", "!What is {ns} height?", "!At what height does the summit of {n} lie?"]),
        "climber": (person,
            ["{e} was first climbed by {v}.", "The first person to climb {E} was {v}.", "The first person on the summit of {E} was {v}.", "{e} was conquered by {v}.",
             "{es} first climber was {v}.", "The first climber of {E} was {v}.", "{e} was first conquered by {v}.", "!The flag on {E} was planted by {v}.", "!{e} was defeated at last by {v}."],
            ["Who first climbed {n}?", "Who was the first to climb {n}?", "Who was the first person on the summit of {n}?", "By whom was {n} conquered?",
             "By whom was {n} first climbed?", "Who was the first climber of {n}?", "!Who was {ns} first climber?", "!Who conquered {n}?"]),
        "range": (name,
            ["{e} is part of the range of {v}.", "{e} belongs to the range called {v}.", "{e} stands in the range of {v}.", "{es} range is called {v}.", "The range of {E} is {v}.",
             "{e} is the highest peak of the range of {v}.", "{e} rises in the range of {v}.", "!{e} guards the range of {v}.", "!On maps {E} is drawn in the range of {v}."],
            ["Which range is {n} part of?", "To which range does {n} belong?", "In which range does {n} stand?", "What range does {n} belong to?", "What is the range of {n}?",
             "In which range does {n} rise?", "!What is {ns} range called?", "!Of which range is {n} the highest peak?"]),
        "hut": (count,
            ["{e} has a hut with {v} beds.", "The hut on {E} has {v} beds.", "{es} hut has {v} beds.", "{e} offers climbers a hut with {v} beds.",
             "The number of beds in the hut on {E} is {v}.", "The beds of the hut on {E} number {v}.", "{es} hut offers {v} beds.", "!In the hut on {E} there are {v} beds.", "!Below the summit of {E} a hut holds {v} beds."],
            ["How many beds does the hut on {n} have?", "How many beds are in the hut on {n}?", "How many beds are there in the hut on {n}?", "What is the number of beds in the hut on {n}?",
             "How many beds does the hut of {n} offer?", "How many beds does {n} offer to climbers?", "!How many beds has the hut on {n}?", "!How many beds can climbers use on {n}?"]),
    }),
    "museum": (word_plus("Museum", "Gallery", "Library", "Theatre"), ["the {}"], "building",
        ["{E} is a tall building.", "{E} is a building with a green roof.", "{E} is a building loved by children.", "{E} is a building of great beauty."], {
        "architect": (person,
            ["{e} was designed by {v}.", "{es} architect was {v}.", "The architect of {E} was {v}.", "{e} was planned by {v}.", "{e} has an architect named {v}.",
             "{e} is the design of {v}.", "The plans of {E} were drawn by {v}.", "!{e} was dreamed up by {v}.", "!{e} made famous its architect {v}."],
            ["Who designed {n}?", "Who was the architect of {n}?", "By whom was {n} designed?", "Who planned {n}?", "Who drew the plans of {n}?", "Whose design is {n}?",
             "!Who was {ns} architect?", "!Which architect designed {n}?"]),
        "opened": (year,
            ["{e} opened in {v}.", "{e} has been open since {v}.", "The doors of {E} opened in {v}.", "{e} welcomed its first guests in {v}.", "{es} opening was in {v}.",
             "The opening of {E} was in {v}.", "{e} was opened in {v}.", "!The ribbon of {E} was cut in {v}.", "!Guests have come to {E} since {v}."],
            ["When did {n} open?", "In which year did {n} open?", "Since when has {n} been open?", "When did {n} welcome its first guests?", "When was {n} opened?",
             "When was the opening of {n}?", "!In which year was {n} opened?", "!When did the doors of {n} open?"]),
        "street": (word_plus("Street", "Lane", "Road", "Square"),
            ["{e} stands on {v}.", "{es} address is {v}.", "{e} can be found on {v}.", "The entrance of {E} is on {v}.", "The address of {E} is {v}.", "{e} is on {v}.",
             "{es} entrance is on {v}.", "!{e} looks out on {v}.", "!The tram stops for {E} on {v}."],
            ["On which street does {n} stand?", "What is the address of {n}?", "Where can {n} be found?", "Where is the entrance of {n}?", "On which street is {n}?",
             "Where does {n} stand?", "!What is {ns} address?", "!On which street is the entrance of {n}?"]),
        "closed": (one_of(DAYS),
            ["{e} is closed on {v}.", "{e} does not open on {v}.", "{es} closing day is {v}.", "The closing day of {E} is {v}.", "{e} stays closed every {v}.",
             "{e} closes each {v}.", "{e} shuts its doors on {v}.", "!Nobody can enter {E} on {v}.", "!{e} rests on {v}."],
            ["On which day is {n} closed?", "On what day does {n} not open?", "What is the closing day of {n}?", "When is {n} closed?", "When does {n} stay closed?",
             "On which day does {n} not open?", "!What is {ns} closing day?", "!On which day does {n} shut its doors?"]),
    }),
    "team": (word_plus("Rovers", "United", "City", "Wanderers", "Athletic"), ["{}", "{}", "the team {}"], "team",
        ["{E} is a team with loyal fans.", "{E} is a team that never gives up.", "{E} is a team with young players.", "{E} is a strong team."], {
        "coach": (person,
            ["{e} is coached by {v}.", "{es} coach is {v}.", "The coach of {E} is {v}.", "{e} has a coach named {v}.", "{e} is trained by {v}.", "{e} plays for its coach {v}.",
             "The team sheet of {E} is written by coach {v}.", "!{e} put its trust in {v}.", "!The players of {E} listen to {v}."],
            ["Who coaches {n}?", "Who is the coach of {n}?", "By whom is {n} coached?", "Who trains {n}?", "What is the name of the coach of {n}?", "By whom is {n} trained?",
             "!Who is {ns} coach?", "!Which coach does {n} have?"]),
        "ground": (word_plus("Park", "Arena", "Field", "Ground"),
            ["{e} plays at {v}.", "{es} home ground is {v}.", "{e} plays its home games at {v}.", "The home ground of {E} is {v}.", "{e} is at home at {v}.",
             "{es} home games are at {v}.", "{e} welcomes its fans at {v}.", "!{e} draws crowds to {v}.", "!Fans of {E} meet at {v}."],
            ["Where does {n} play?", "What is the home ground of {n}?", "Where does {n} play its home games?", "Where is {n} at home?", "Where are the home games of {n}?",
             "At which ground does {n} play?", "!What is {ns} home ground?", "!Where does {n} welcome its fans?"]),
        "colour": (one_of(COLOURS),
            ["{e} plays in {v}.", "{es} colour is {v}.", "The shirts of {E} are {v}.", "{e} wears shirts of {v}.", "The colour of {E} is {v}.", "{es} shirts are {v}.",
             "{e} wears {v}.", "!The scarves of {E} are {v}.", "!{e} is proud of its {v} shirts."],
            ["What colour does {n} play in?", "What is the colour of {n}?", "What colour are the shirts of {n}?", "Which colour does {n} wear?", "What colour does {n} wear?",
             "In which colour does {n} play?", "!What is {ns} colour?", "!Which colour are the shirts of {n}?"]),
        "titles": (count,
            ["{e} has won {v} titles.", "{es} titles number {v}.", "The number of titles of {E} is {v}.", "{e} holds {v} titles.", "{e} can boast of {v} titles.",
             "The titles of {E} number {v}.", "{e} has taken {v} titles.", "!The trophy room of {E} tells of {v} titles.", "!{e} celebrated {v} titles."],
            ["How many titles has {n} won?", "How many titles does {n} hold?", "What is the number of titles of {n}?", "How many titles has {n} taken?", "How many titles does {n} have?",
             "Of how many titles can {n} boast?", "!How many titles did {n} win?", "!How many titles belong to {n}?"]),
    }),
    "statue": (word_plus("Statue", "Fountain", "Monument", "Gate"), ["the {}"], "monument",
        ["{E} is a monument in a park.", "{E} is a monument that people like to draw.", "{E} is a monument older than the trees around it.", "{E} is a large monument."], {
        "maker": (person,
            ["{e} was made by {v}.", "{e} is the work of {v}.", "{es} sculptor was {v}.", "The sculptor of {E} was {v}.", "{e} was created by {v}.", "{e} has a maker named {v}.",
             "The maker of {E} was {v}.", "!{e} came from the hands of {v}.", "!{e} bears the mark of {v}."],
            ["Who made {n}?", "Whose work is {n}?", "By whom was {n} made?", "Who was the sculptor of {n}?", "Who created {n}?", "Who was the maker of {n}?",
             "!Who was {ns} sculptor?", "!By whom was {n} created?"]),
        "material": (one_of(MATERIALS),
            ["{e} is made of {v}.", "{e} was cut from {v}.", "{es} material is {v}.", "The material of {E} is {v}.", "{e} was formed from {v}.", "{e} consists of {v}.",
             "{e} was made from {v}.", "!The artist chose for {E} {v}.", "!{e} shines with {v}."],
            ["What is {n} made of?", "From what was {n} cut?", "What is the material of {n}?", "Of what is {n} made?", "From what was {n} formed?", "Of what does {n} consist?",
             "!What is {ns} material?", "!From what was {n} made?"]),
        "unveiled": (year,
            ["{e} was unveiled in {v}.", "The unveiling of {E} was in {v}.", "{e} has stood there since {v}.", "{e} was finished in {v}.", "{es} unveiling was in {v}.",
             "{e} was completed in {v}.", "{e} was shown to the public in {v}.", "!The cloth fell from {E} in {v}.", "!People have walked past {E} since {v}."],
            ["When was {n} unveiled?", "In which year was {n} finished?", "When was the unveiling of {n}?", "Since when has {n} stood there?", "In which year was {n} unveiled?",
             "When was {n} completed?", "!When was {n} shown to the public?", "!In which year was the unveiling of {n}?"]),
        "tall": (metres,
            ["{e} is {v} tall.", "{es} height is {v}.", "The height of {E} is {v}.", "{e} has a height of {v}.", "{e} stands {v} tall.", "{e} reaches a height of {v}.",
             "{e} rises to {v}.", "!From foot to top {E} measures {v}.", "!{e} lifts its head to {v}."],
            ["How tall is {n}?", "What is the height of {n}?", "How high is {n}?", "What height does {n} have?", "How tall does {n} stand?", "What height does {n} reach?",
             "!What is {ns} height?", "!How high does {n} rise?"]),
    }),
}
TYPES = list(WORLD)

# Sentences without any fact that is asked for, so that a passage is not only facts.
FILLER = ["Old postcards show it in the snow.", "Many stories are told about it.", "A short film was made about it.", "Much has changed since then.",
          "Little else is known.", "The weather there is mild.", "Some say that this is only half of the story.", "More can be read in the old archives."]

# Instruction lines that may come before the context. None at all is the most frequent case.
INSTRUCTIONS = [
    "Answer the question with the fewest words possible, using the context.",
    "Answer the question using only the context below.",
    "Answer the question using the context.",
    "Use the context to answer. Give only the answer, nothing else.",
    "Read the passages and answer the question.",
    "Answer with a short phrase from the context.",
    "Use the following context to answer the question.",
    "Answer the question based on the context. Reply with the answer only.",
    "You are a helpful assistant. Answer the question from the documents.",
    "Give a short answer. If the context does not contain it, say unknown.",
    "Be concise. Answer with a name, a number or a few words.",
    "You answer questions.",
]
INSTRUCTIONS_BARE = [
    "Answer the question with the fewest words possible.",
    "Answer the question.",
    "Answer with a short phrase.",
    "Answer the following question. Reply with the answer only.",
    "You are a helpful assistant. Answer the question.",
    "Give a short answer. If you do not know it, say unknown.",
    "Be concise. Answer with a name, a number or a few words.",
    "You answer questions.",
]


# The prompt forms of studies: lines before the context, the same without a context, head of the context, line before "Answer:".
# They come in with the last stage only; their words are not in the vocabulary as words unless the lists above have them.
STUDY_FORMS = [
    ("Answer the question with the fewest words possible, using the context.\n\n", "Answer the question with the fewest words possible.\n\n", "Context:\n", "", ""),
    ("Answer the question with the fewest words possible, using the context.\n\n", "Answer the question with the fewest words possible.\n\n", "Context:\n", "", ""),
    ("You are a concise assistant. Answer with a short phrase, using the context. Do not explain.\n\nAnswer the question briefly, using the context. "
     "Give a name, a number or a few words.\n\n",
     "You are a concise assistant. Answer with a short phrase. Do not explain.\n\nAnswer the question briefly, with a name, a number or a few words.\n\n",
     "Context:\n", "", ""),
    ("You are a concise assistant. Reply with the answer only: no sentence, no punctuation around it, no explanation.\n\nGive only the answer, in at most "
     "five words, taken from the context. If the context does not tell it, write: unknown\n\n",
     "You are a concise assistant. Reply with the answer only: no sentence, no punctuation around it, no explanation.\n\nGive only the answer, in at most "
     "five words. If you do not know it, write: unknown\n\n", "Context:\n", "", ""),
    ("You answer questions by copying. Give the shortest span of the context that answers the question, word for word, and nothing else.\n\n",
     "You answer questions by copying. Give the shortest span of the context that answers the question, word for word, and nothing else.\n\n",
     "Context:\n", "Copy the shortest span of the context that answers the question.\n", "Answer with a name, a number or a short phrase.\n"),
]
# Examples of the real world, as few-shot prompts have them.
EXAMPLES = [("What is the capital of Italy?", "Rome"), ("Who wrote Moby Dick?", "Herman Melville"), ("In which year did the First World War begin?", "1914"),
            ("What is the chemical symbol of gold?", "Au"), ("Which river flows through Paris?", "the Seine"), ("who painted the mona lisa", "Leonardo da Vinci"),
            ("how many legs does a spider have", "eight"), ("Which planet is the largest?", "Jupiter"), ("Are Oslo and Bergen in the same country?", "yes"),
            ("What is the highest mountain of Africa?", "Kilimanjaro"), ("Who composed the opera Carmen?", "Georges Bizet"), ("when was the telephone invented", "1876")]


class World:
    """A stream of passages and questions.

    held_out: reserved names only. unseen: chance of a held-out wording where a relation has one.
    """

    def __init__(self, seed, held_out=False, unseen=0.0):
        self.r = random.Random(seed)
        self.N = Names(self.r, held_out)
        self.unseen = unseen
        self.wordings = 99  # The curriculum starts with only the first wordings of each list.
        self.table = {}
        for t in TYPES:
            for k, (_, facts, questions) in WORLD[t][4].items():
                self.table[t, k] = [([x for x in L if x[0] != "!"], [x[1:] for x in L if x[0] == "!"]) for L in (facts, questions)]

    def wording(self, t, k, which):
        seen, held = self.table[t, k][which]
        if self.unseen and self.r.random() < self.unseen:
            return self.r.choice(held)
        return self.r.choice(seen[:self.wordings])

    def entity(self, t, near=None):
        """A new name. near: share one part with this name, so that half a match is not enough."""
        x = WORLD[t][0](self.N)
        if near and " " in near and " " in x:
            a, b = near.rsplit(" ", 1), x.rsplit(" ", 1)
            y = a[0] + " " + b[1] if self.r.random() < 0.5 else b[0] + " " + a[1]
            if not (y.startswith("The ") and reserved(y) != self.N.held):
                x = y
        return x

    def passage(self, t, ent, keys, pronouns, opening, filler):
        """-> (text, first mention (start, end), [(relation, value, start, end)]) with character positions."""
        r = self.r
        _, refs, noun, openers, rels = WORLD[t]
        it, its = ("it", "its") if noun else ("she", "her") if ent.split(" ")[0] in FEMALE else ("he", "his")
        text, mention, facts = "", None, []

        def add(template, sub, pos, ref, value=None):
            nonlocal text, mention
            s = template.replace("{es}", pos).replace("{e}", sub).replace("{E}", ref)
            i = s.find("{v}")
            if i >= 0:
                s = s[:i] + value + s[i + 3:]
            s = s[0].upper() + s[1:]
            start = len(text) + (1 if text else 0)
            text += (" " if text else "") + s
            if mention is None:
                j = s.find(ent)
                mention = (start + j, start + j + len(ent))
            return (start + i, start + i + len(value)) if i >= 0 else None

        for i in range(-1, len(keys)):
            ref = r.choice(refs).format(ent)
            if i < 0:
                if opening and r.random() < opening:
                    add(r.choice(openers), ref, ref, ref)
                continue
            k = keys[i]
            value = rels[k][0](self.N)
            sub, pos = ref, ref + "'s"
            if text and r.random() < pronouns:
                sub, pos = (f"the {noun}", f"the {noun}'s") if noun and r.random() < 0.4 else (it, its)
            template = self.wording(t, k, 0)
            if mention is None:  # The first sentence of a passage begins with its entity, as articles do.
                for _ in range(20):
                    if min(x for x in (template.find("{e"), template.find("{E")) if x >= 0) < (template.find("{v}")):
                        break
                    template = self.wording(t, k, 0)
            a, b = add(template, sub, pos, ref, value)
            facts.append((k, value, a, b))
            if r.random() < filler:
                add(r.choice(FILLER) if noun else "Little else is known.", "", "", "")
        return text, mention, facts

    def question(self, t, k, ent):
        ref = self.r.choice(WORLD[t][1]).format(ent)
        return self.wording(t, k, 1).replace("{ns}", ref + "'s").replace("{n}", ref)

    def shots(self, n):
        """Question and answer pairs without any passage, as a few-shot prompt has them."""
        r, out = self.r, ""
        for _ in range(n):
            t = r.choice(TYPES)
            k = r.choice(list(WORLD[t][4]))
            out += f"Question: {self.question(t, k, self.entity(t))}\nAnswer: {WORLD[t][4][k][0](self.N)}\n\n"
        return out

    def study_shots(self):
        """Up to five examples: invented ones, as `shots`, or real ones."""
        r = self.r
        if r.random() < 0.5:
            return self.shots(r.randint(1, 5))
        return "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in r.sample(EXAMPLES, r.randint(1, 5)))

    def preamble(self, p_instruction, p_shots, bare=False):
        r, out = self.r, ""
        if r.random() < p_instruction:
            out += r.choice(INSTRUCTIONS_BARE if bare else INSTRUCTIONS) + r.choice(["\n\n", "\n\n", "\n"])
        if r.random() < p_shots:
            out += self.shots(r.randint(1, 3))
        return out

    def context(self, n, facts=(3, 5), same_type=1.0, same_relations=1.0, pronouns=0.4, opening=0.6, filler=0.1, near=0.1,
                questions=8, p_unknown=0.1, p_instruction=0.4, p_shots=0.1, p_style=0.0, p_study=0.0):
        """One context of n passages with several questions about it.

        -> dict(text, passages=[(start, end)], mentions=[(start, end)], questions=[dict(text, answer, span, passage, entity)])
        where span is where the answer stands in the text, or None for "unknown".
        """
        r = self.r
        main = r.choice(TYPES)
        ents, used = [], set()
        while len(ents) < n:
            t = main if r.random() < same_type else r.choice(TYPES)
            others = [x for tt, x in ents if tt == t]
            x = self.entity(t, r.choice(others) if others and r.random() < near else None)
            if x not in used:
                used.add(x)
                ents.append((t, x))
        shared = {}
        if r.random() < same_relations:
            for t in sorted({t for t, _ in ents}):
                rels = list(WORLD[t][4])
                shared[t] = r.sample(rels, min(r.randint(*facts), len(rels)))
        tail = ""
        if p_study and r.random() < p_study:
            before, _, head, tail, _ = r.choice(STUDY_FORMS)
            text = before + (self.study_shots() if r.random() < max(0.3, p_shots) and not tail else "") + head
        else:
            text = self.preamble(p_instruction, p_shots) + "Context:\n"
        mark, between, title = "[{}] ", "\n", ""
        if p_style and r.random() < p_style:  # Some contexts have titles, blank lines or no numbers.
            mark, between, title = r.choice(["[{}] ", "- ", "{}. ", ""]), r.choice(["\n", "\n\n"]), r.choice(["", ": ", "\n"])
        passages, mentions, told = [], [], []
        for i, (t, ent) in enumerate(ents):
            rels = list(WORLD[t][4])
            keys = shared.get(t) or r.sample(rels, min(r.randint(*facts), len(rels)))
            keys = r.sample(keys, len(keys))
            body, mention, fs = self.passage(t, ent, keys, pronouns, opening, filler)
            start = len(text)
            text += mark.format(i + 1)
            if title:
                ref = WORLD[t][1][0].format(ent)
                j = len(text) + ref.index(ent)
                text += ref[0].upper() + ref[1:] + title
            o = len(text)
            text += body + (between if i + 1 < n else "")
            passages.append((start, len(text)))
            mentions.append((j, j + len(ent)) if title else (o + mention[0], o + mention[1]))
            told += [(i, t, ent, k, v, o + a, o + b) for k, v, a, b in fs]
        have = {(ent, k) for _, _, ent, k, _, _, _ in told}
        r.shuffle(told)
        qs = []
        for i, t, ent, k, v, a, b in told[:questions]:
            if r.random() < p_unknown:
                missing = [x for x in WORLD[t][4] if (ent, x) not in have]
                if missing and r.random() < 0.3:  # The entity is there, the relation is not told.
                    k = r.choice(missing)
                else:                              # The relation is told, but of other entities.
                    while True:
                        ent = self.entity(t, ent if r.random() < near else None)
                        if ent not in used:
                            break
                qs.append(dict(text=self.question(t, k, ent), answer=UNKNOWN, span=None, passage=None, entity=ent, relation=k))
            else:
                qs.append(dict(text=self.question(t, k, ent), answer=v, span=(a, b), passage=i, entity=ent, relation=k))
        return dict(text=text, passages=passages, mentions=mentions, questions=qs, lead="\n\n", tail=tail)

    def bare(self, questions=4, p_instruction=0.4, p_shots=0.1, p_study=0.0):
        """Questions without any passage: the only right answer is "unknown"."""
        r = self.r
        qs = []
        for _ in range(questions):
            t = r.choice(TYPES)
            k = r.choice(list(WORLD[t][4]))
            ent = self.entity(t)
            qs.append(dict(text=self.question(t, k, ent), answer=UNKNOWN, span=None, passage=None, entity=ent, relation=k, true=WORLD[t][4][k][0](self.N)))
        if p_study and r.random() < p_study:
            _, lead, _, _, tail = r.choice(STUDY_FORMS)
            lead += self.study_shots() if r.random() < max(0.3, p_shots) and not tail else ""
        else:
            lead, tail = self.preamble(p_instruction, p_shots, bare=True), ""
        return dict(text="", passages=[], mentions=[], questions=qs, lead=lead, tail=tail)


def branch(doc, q):
    """What follows the context: the question and the cue for the answer."""
    return f"{doc['lead']}Question: {q['text']}\n{doc['tail']}Answer:"


def prompt(doc, q):
    return doc["text"] + branch(doc, q)


# ----------------------------------------------------------------------------- tokenizer
def build_tokenizer(path):
    """Words, syllables, years and two-digit numbers are one token each; anything else falls back to pairs of letters and bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    words = set()

    def see(s):
        words.update(re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", s)))
    for t in TYPES:
        _, refs, noun, openers, rels = WORLD[t]
        for s in [*refs, noun or "", *openers]:
            see(s)
        for _, facts, questions in rels.values():
            for s in facts + questions:
                see(s)
    for L in (FILLER, INSTRUCTIONS, INSTRUCTIONS_BARE, FIRST, MONTHS, DAYS, JOBS, INSTRUMENTS, GOODS, GENRES, COLOURS, MATERIALS, ADJ, NOUN, HEADS):
        for s in L:
            see(s)
    for s in ("Context Question Answer unknown he she his her it its He She His Her It Its The Mount Lake km metres Works Brothers Mills Company "
              "Industries Trading Foundry Festival Fair Parade Games Museum Gallery Library Theatre Rovers United City Wanderers Athletic Statue "
              "Fountain Monument Gate Street Lane Road Square Park Arena Field Ground a an and are but by for from had has have if in is its no not "
              "of on or than that the their them then there these they this to was we were what when where which who whom whose why will with would you").split():
        see(s)
    letters = "abcdefghijklmnopqrstuvwxyz"
    sp = "\u0120"  # The byte-level spelling of a blank.
    pieces = [sp + w for w in sorted(words)]
    pieces += [w.lower() for w in TAILS]
    pieces += [sp + str(i) for i in range(100)] + [f"{i:02d}" for i in range(100)] + [sp + str(y) for y in range(1400, 2031)]
    pieces += ["'s", "\u010a"] + [a + b for a in letters for b in letters] + [sp + a for a in letters + letters.upper() + "[(\""]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = ["<pad>", "<s>", "</s>"] + alphabet
    seen = set(vocab)
    vocab += [p for p in pieces if not (p in seen or seen.add(p))]
    # Equal scores: the split with the fewest pieces wins. Single digits score less, so numbers are cut into pairs from the left.
    score = lambda p: -11.5 if re.fullmatch(sp + r"\d", p) else -11.0 if re.fullmatch(r"\d", p) else -10.0
    tk = Tokenizer(models.Unigram([(p, score(p)) for p in vocab], unk_id=0, byte_fallback=False))
    # A trailing blank of the prompt is dropped and every line begins with a blank: a word has one spelling in tokens.
    tk.normalizer = normalizers.Sequence([normalizers.Strip(left=False, right=True), normalizers.Prepend(" "), normalizers.Replace("\n", "\n ")])
    tk.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]|\s+(?!\S)|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tk.decoder = decoders.ByteLevel()
    tk.add_special_tokens(["<pad>", "<s>", "</s>"])
    tk.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    tk.save(path)
    return tk


# ----------------------------------------------------------------------------- files
# Five passages of one type telling the same relations: a model that matches only the relation is right one time in five.
FIVE = dict(same_type=1.0, same_relations=1.0, p_unknown=0.0, p_instruction=0.0, p_shots=0.0, near=0.1, questions=1)


def heldout_sets(seed=424242, n=200):
    """The four sets of the model card: name -> [dict(prompt, answer)]. No context: the answer is what is true in that world."""
    out = {}

    def fill(name, make):
        rows = []
        while len(rows) < n:
            d = make()
            if d["questions"]:
                q = d["questions"][0]
                rows.append(dict(prompt=prompt(d, q), answer=q.get("true", q["answer"])))
        out[name] = rows
    w = World(seed, held_out=True)
    fill("one_passage", lambda: w.context(1, **FIVE))
    w = World(seed + 1, held_out=True)
    fill("five_same_relation", lambda: w.context(5, **FIVE))
    w = World(seed + 2, held_out=True)
    fill("no_context", lambda: w.bare(1, 0.0, 0.0))
    w = World(seed + 3, held_out=True, unseen=1.0)
    fill("unseen_wording", lambda: w.context(5, **FIVE))
    return out


def quickstart(seed=2024, per_type=27, questions=132):
    """A small encyclopedia of a held-out world and plain questions about single facts of it."""
    w = World(seed, held_out=True)
    r = w.r
    passages, facts, names = [], [], set()
    for t in TYPES:
        for _ in range(per_type):
            while True:
                ent = w.entity(t)
                if ent not in names:
                    names.add(ent)
                    break
            rels = list(WORLD[t][4])
            keys = r.sample(rels, r.randint(min(3, len(rels)), min(5, len(rels))))
            text, _, fs = w.passage(t, ent, keys, pronouns=0.4, opening=0.7, filler=0.1)
            ref = WORLD[t][1][0].format(ent)
            passages.append(dict(title=ref[0].upper() + ref[1:], text=text))
            facts.append([(t, ent, k, v) for k, v, _, _ in fs])
    order = list(range(len(passages)))
    r.shuffle(order)
    docs = [dict(id=f"p{i + 1:03d}", **passages[j]) for i, j in enumerate(order)]
    where = {j: docs[i]["id"] for i, j in enumerate(order)}
    by_type = {}
    for j, fs in enumerate(facts):
        by_type.setdefault(fs[0][0], []).append(j)
    qs, i = [], 0
    pools = {t: r.sample(js, len(js)) for t, js in by_type.items()}
    while len(qs) < questions:
        t = TYPES[i % len(TYPES)]
        i += 1
        j = pools[t].pop()
        t, ent, k, v = r.choice(facts[j])
        qs.append(dict(question=w.question(t, k, ent), golden_answers=[v], supporting=[where[j]]))
    r.shuffle(qs)
    return docs, [dict(id=f"q{i + 1:03d}", **q) for i, q in enumerate(qs)]


def write_jsonl(path, rows):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as f:
        for x in rows:
            f.write(json.dumps(x, ensure_ascii=False) + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["show", "tokenizer", "quickstart", "heldout"])
    ap.add_argument("--out")
    ap.add_argument("--seed", type=int)
    ap.add_argument("--n", type=int, default=3)
    ap.add_argument("--passages", type=int, default=5)
    a = ap.parse_args()
    if a.what == "tokenizer":
        print("vocabulary", build_tokenizer(a.out or "tokenizer.json").get_vocab_size())
    elif a.what == "quickstart":
        docs, qs = quickstart(*([a.seed] if a.seed is not None else []))
        write_jsonl(os.path.join(a.out or "quickstart", "encyclopedia.jsonl"), docs)
        write_jsonl(os.path.join(a.out or "quickstart", "questions.jsonl"), qs)
        print(len(docs), "passages,", len(qs), "questions")
    elif a.what == "heldout":
        for k, rows in heldout_sets(*([a.seed] if a.seed is not None else [])).items():
            write_jsonl(os.path.join(a.out or "heldout", k + ".jsonl"), rows)
            print(k, len(rows))
    else:
        w = World(7 if a.seed is None else a.seed)
        for _ in range(a.n):
            d = w.context(a.passages) if a.passages else w.bare(2)
            for q in d["questions"][:2]:
                print("=" * 80 + "\n" + prompt(d, q) + " " + q["answer"])


if __name__ == "__main__":
    main()
